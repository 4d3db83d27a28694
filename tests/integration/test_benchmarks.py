"""The benchmarks run, on a few jobs each: what they say of speed isn't looked at here."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import beside, drain, enqueue, imports, memory, pickup, runner_start, schedules
from benchmarks.profiling import profile
from benchmarks.support.contestants import ROOT, Contestant
from benchmarks.support.databases import Databases, Kind
from benchmarks.support.measure import Samples, alternate, one
from benchmarks.support.progress import Steps
from benchmarks.support.report import Figure, Reference, Target
from benchmarks.support.run import Benchmark, Run

KINDS: list[Kind] = ["sqlite", "postgresql"]


@pytest.fixture(params=KINDS)
def run(request: pytest.FixtureRequest, tmp_path: Path, postgres_server: str) -> Run:
    databases = Databases(tmp_path, postgres_server)
    return Run(databases, [request.param], Steps(), scale=0.001, rounds=1)


@pytest.mark.parametrize(
    "benchmark",
    [enqueue.measure, drain.measure, beside.measure, pickup.latency, pickup.idle, schedules.ticks],
)
def test_a_benchmark_measures_both_sides(benchmark: Benchmark, run: Run) -> None:
    figures = list(benchmark(run))

    assert figures
    for figure in figures:
        assert figure.ours.median > 0
        assert figure.raw is not None


def test_fire_times_are_computed_by_both(tmp_path: Path) -> None:
    run = Run(Databases(tmp_path, None), [], Steps(), scale=0.01, rounds=1)

    figures = list(schedules.cron(run))

    assert len(figures) == len(schedules.EXPRESSIONS) * len(schedules.ZONES)
    for figure in figures:
        assert figure.to_reference is not None
        assert figure.to_reference > 0


def test_reading_params_back_is_seen_beside_writing_them(tmp_path: Path) -> None:
    run = Run(Databases(tmp_path, None), [], Steps(), scale=0.01, rounds=1)

    (figure,) = enqueue.params_read_back(run)

    assert figure.to_reference is not None
    assert 0 < figure.to_reference < 1


def test_memory_is_that_of_the_workers_process(run: Run) -> None:
    (figure,) = memory.measure(run)

    assert 10 < figure.ours.median < 1_000  # MB: an interpreter with the imports, no more


def test_a_runners_start_is_seen_beside_what_it_has_to_import(run: Run) -> None:
    (figure,) = runner_start.measure(run)

    assert figure.to_reference is not None
    assert figure.to_reference > 0


def test_imports_bring_nothing_that_is_not_used(tmp_path: Path) -> None:
    run = Run(Databases(tmp_path, None), [], Steps(), rounds=1)

    time, modules, *commands = imports.measure(run)

    assert time.reference is not None
    assert (modules.ours.median, modules.note) == (0, "")
    assert [figure.what for figure in commands] == ["server-jobs --version", "server-jobs --help"]


def test_a_profile_names_threads_and_functions(run: Run) -> None:
    text = profile(run, run.kinds[0])

    assert "MainThread" in text or "all threads" in text
    assert "work_loop.py" in text
    assert "(_execute)" in text


def test_the_command_prints_the_table_and_writes_every_sample(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    command = [sys.executable, "-m", "benchmarks", "enqueue", "--database", "sqlite", "--quick"]

    done = subprocess.run(
        [*command, "--markdown", "--json", str(file)], cwd=ROOT, capture_output=True, text=True
    )

    assert done.returncode == 0, done.stderr
    assert "| later, one by one | SQLite |" in done.stdout
    written = json.loads(file.read_text())
    assert written["machine"]["cores"] >= 1
    assert len(written["figures"][0]["ours"]["values"]) > 1


def test_a_contestant_that_breaks_says_why() -> None:
    broken = Contestant("benchmarks.ours:drain", no_such_argument=1)
    try:
        with pytest.raises(RuntimeError, match="no_such_argument"):
            broken.answer()
    finally:
        broken.end()


def test_contestants_take_turns_and_the_first_round_does_not_count() -> None:
    turns = []

    def contestant(name: str) -> float:
        turns.append(name)
        return float(len(turns))

    measured = alternate({"a": lambda: contestant("a"), "b": lambda: contestant("b")}, rounds=2)

    assert turns == ["a", "b"] * 3
    assert measured == {"a": Samples((3, 5)), "b": Samples((4, 6))}


@pytest.mark.parametrize(
    ("target", "reached"),
    [
        (None, None),
        (Target("least", 0.5, of="raw"), True),
        (Target("least", 0.6, of="raw"), False),
        (Target("least", 1.5, of="reference"), True),
        (Target("most", 1.5, of="reference"), False),
        (Target("most", 50, of="figure"), True),
    ],
)
def test_a_target_is_judged_by_what_it_is_of(target: Target | None, reached: bool | None) -> None:
    reference = Reference("one worker", one(25))

    figure = Figure("drain", "SQLite", "/s", one(50), one(100), reference, target)

    assert figure.reached is reached
