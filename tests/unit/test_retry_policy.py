"""How long to wait: within bounds, whatever the attempt, and whatever the row says."""

import json
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server_jobs import RetryPolicy
from server_jobs.errors import InvalidJobDefinitionError
from server_jobs.records.backoff import LONGEST_DELAY

delays = st.floats(0, LONGEST_DELAY)
attempts = st.integers(-5, 50) | st.sampled_from([1_000, 10**6, 10**30])
policies = st.builds(
    RetryPolicy.exponential,
    delays,
    factor=st.floats(1, 1_000),
    maximum=delays,
    jitter=st.booleans(),
) | st.builds(RetryPolicy.fixed, delays)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=4,
)
FIELDS = ["base_seconds", "factor", "max_seconds", "jitter"]


@given(policies, attempts)
def test_delays_stay_within_bounds_at_every_attempt(policy: RetryPolicy, attempt: int) -> None:
    assert 0 <= policy.delay_seconds(attempt) <= policy.max_seconds


@given(delays, st.floats(1, 1_000), delays, st.integers(1, 30))
def test_delays_without_jitter_grow_until_the_maximum(
    base: float, factor: float, maximum: float, attempt: int
) -> None:
    policy = RetryPolicy.exponential(base, factor=factor, maximum=maximum, jitter=False)

    assert policy.delay_seconds(1) == min(base, maximum)
    assert policy.delay_seconds(attempt) <= policy.delay_seconds(attempt + 1)


def test_default_spreads_between_nothing_and_the_exponential() -> None:
    policy = RetryPolicy()
    seen = [policy.delay_seconds(3) for _ in range(2_000)]

    # 5 s, doubled twice. That 2,000 draws miss a twentieth at either end has a chance of 1e-44.
    assert 0 <= min(seen) < 1
    assert 19 < max(seen) <= 20


@given(delays, attempts)
def test_fixed_policy_always_waits_as_long(delay: float, attempt: int) -> None:
    assert RetryPolicy.fixed(delay).delay_seconds(attempt) == delay


def test_times_are_timedeltas_or_seconds() -> None:
    assert RetryPolicy.fixed(timedelta(minutes=2)) == RetryPolicy.fixed(120)
    assert RetryPolicy.exponential(
        timedelta(seconds=1), maximum=timedelta(hours=1)
    ) == RetryPolicy.exponential(1, maximum=3_600)


@pytest.mark.parametrize(
    ("answer", "seconds"),
    [(-5, 0), (timedelta(seconds=3), 3), (1e300, LONGEST_DELAY), (float("inf"), LONGEST_DELAY)],
)
def test_custom_function_is_kept_within_bounds(answer: Any, seconds: float) -> None:
    assert RetryPolicy.custom(lambda _: answer).delay_seconds(1) == seconds


def test_custom_function_that_answers_nan_is_an_error() -> None:
    with pytest.raises(ValueError, match="NaN"):
        RetryPolicy.custom(lambda _: float("nan")).delay_seconds(1)


@pytest.mark.parametrize(
    "make",
    [
        lambda: RetryPolicy.fixed(-1),
        lambda: RetryPolicy.fixed(float("nan")),
        lambda: RetryPolicy.fixed(timedelta(days=400)),
        lambda: RetryPolicy.exponential(1, factor=0.5),
        lambda: RetryPolicy.exponential(1, factor=float("nan")),
        lambda: RetryPolicy.exponential(1, maximum=float("inf")),
    ],
)
def test_policy_without_sense_is_refused(make: Any) -> None:
    with pytest.raises(InvalidJobDefinitionError):
        make()


# ── in the row ───────────────────────────────────────────────────────────────────────────────


@given(policies)
def test_policy_comes_back_from_its_row(policy: RetryPolicy) -> None:
    text = policy.to_json()

    assert text is not None
    json.loads(text, parse_constant=pytest.fail)
    assert RetryPolicy.from_json(text) == policy


def test_custom_policy_is_not_stored_and_becomes_the_default() -> None:
    assert RetryPolicy.custom(lambda _: 1).to_json() is None
    assert RetryPolicy.from_json(None) == RetryPolicy()


@given(json_values | st.dictionaries(st.sampled_from(FIELDS), json_values), attempts)
def test_nonsense_in_the_row_still_gives_a_delay(document: Any, attempt: int) -> None:
    policy = RetryPolicy.from_json(json.dumps(document))

    assert 0 <= policy.delay_seconds(attempt) <= LONGEST_DELAY


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "null",
        "[]",
        "5",
        '"base_seconds"',
        "[" * 100_000,
        '{"base_seconds": "soon"}',
        '{"base_seconds": -1}',
        '{"base_seconds": NaN}',
        '{"base_seconds": 1e999}',
        '{"factor": 0}',
        '{"factor": null}',
        '{"max_seconds": [60]}',
        '{"function": "rm"}',
    ],
    ids=lambda text: text[:30] or "empty",
)
def test_nonsense_in_the_row_is_the_default(text: str) -> None:
    assert RetryPolicy.from_json(text) == RetryPolicy()


def test_fields_that_a_newer_release_added_are_passed_over() -> None:
    assert RetryPolicy.from_json('{"base_seconds": 1, "mood": "good"}') == RetryPolicy(1.0)
