"""The whole conformance suite inside Pyodide, on a real D1."""

import pytest

from tests.cloudflare.support.edge import ROOT, Edge
from tests.cloudflare.support.inside import RAW, WRAPPED, run_inside

SUITE = ROOT / "tests" / "conformance"

# WebAssembly has neither threads nor processes. What these tests show of claims at once, the
# cases of test_d1.py show with tasks.
THREADS = {
    "test_concurrent_claims.py::test_no_job_is_claimed_twice[d1]",
    "test_concurrent_claims.py::test_one_job_by_its_id_goes_to_one_claimer[d1]",
    "test_concurrent_claims.py::test_one_pod_of_a_launch_starts_it[d1]",
    "test_concurrent_claims.py::test_settling_and_claiming_at_once_completes_every_job_once[d1]",
    "test_sharing.py::test_event_loops_in_several_threads[d1]",
    "test_unique_keys.py::test_crossing_batches_of_the_same_keys_dont_block_each_other[d1]",
    "test_unique_keys.py::test_enqueues_at_once_from_many_threads_make_one_job[d1]",
}
FORKS = {
    "test_changes.py::test_wait_ends_when_another_process_commits[NOTSET]",
    "test_sharing.py::test_commit_of_a_child_outlives_the_parents_connections[NOTSET]",
    "test_sharing.py::test_fork_amid_statements_of_other_threads[NOTSET]",
    "test_sharing.py::test_forked_child_and_its_parent_both_go_on[NOTSET]",
    "test_sharing.py::test_waiting_for_changes_goes_on_in_parent_and_child[NOTSET]",
}
OF_POSTGRES = {
    "test_constraints.py::test_moment_beyond_pythons_is_refused[NOTSET--infinity]",
    "test_constraints.py::test_moment_beyond_pythons_is_refused[NOTSET-4713-01-01 00:00:00 BC]",
    "test_constraints.py::test_moment_beyond_pythons_is_refused[NOTSET-infinity]",
    "test_constraints.py::test_number_that_is_none_is_refused[NOTSET-'NaN']",
    "test_constraints.py::test_number_that_is_none_is_refused[NOTSET-'infinity']",
}


@pytest.mark.timeout(900)
def test_whole_suite_passes_on_a_binding_as_a_worker_gets_it(edge: Edge) -> None:
    ran = run_inside(edge, SUITE, WRAPPED)

    ran.check()
    assert ran.of("skipped") == THREADS | FORKS | OF_POSTGRES
    assert len(ran.of("passed")) > 500


@pytest.mark.timeout(300)
@pytest.mark.parametrize("file", ["test_execution.py", "test_values.py"])
def test_driver_does_the_same_on_a_raw_binding(edge: Edge, file: str) -> None:
    ran = run_inside(edge, SUITE / file, RAW)

    ran.check()
    assert not ran.of("skipped")
    assert len(ran.of("passed")) > 20
