"""What D1 alone demands of its driver: cases that run inside Pyodide."""

import pytest

from tests.cloudflare.support.edge import ROOT, Edge
from tests.cloudflare.support.inside import RAW, WRAPPED, run_inside

CASES = ROOT / "tests" / "cloudflare" / "harness" / "inside" / "cases"


@pytest.mark.timeout(300)
@pytest.mark.parametrize("binding", [WRAPPED, RAW])
def test_cases(edge: Edge, binding: str) -> None:
    ran = run_inside(edge, CASES, binding)

    ran.check()
    assert not ran.of("skipped")
    assert ran.of("passed")
