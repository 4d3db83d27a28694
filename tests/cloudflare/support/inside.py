"""Running pytest inside Pyodide."""

from dataclasses import dataclass
from pathlib import Path

from tests.cloudflare.support import wheels
from tests.cloudflare.support.edge import ROOT, Edge

WRAPPED = "env.DB"
"""The binding as the vendor's SDK hands it to a Worker."""
RAW = "raw_env.DB"


@dataclass(frozen=True)
class Outcomes:
    """What became of the tests of a folder."""

    status: int
    outcomes: dict[str, str]
    texts: dict[str, str]

    def of(self, outcome: str) -> set[str]:
        """The tests that ended so."""
        return {name for name, each in self.outcomes.items() if each == outcome}

    def check(self) -> None:
        """All have passed, but for those that were skipped."""
        failures = [f"{name}\n{self.texts.get(name)}" for name in sorted(self.of("failed"))]
        assert not failures, "\n\n".join(failures)
        assert self.status == 0, f"pytest ended with status {self.status}"


def run_inside(edge: Edge, folder: Path, binding: str, *options: str) -> Outcomes:
    """Run the tests of a folder, or of a file, inside Pyodide on the edge's database."""
    edge.start(
        {
            "/worker": wheels.installed(wheels.WORKER),
            "/testing": wheels.installed(wheels.TESTING),
            "/core": ROOT / "runner",
            "/package": ROOT / "cloudflare",
            "/repo": ROOT,
        }
    )
    place = Path("/repo") / folder.relative_to(ROOT)
    arguments = ", ".join(repr(str(argument)) for argument in (place, *options))
    return Outcomes(
        **edge.python(
            "from tests.cloudflare.harness.inside import conformance\n"
            f"conformance.run({binding}, {arguments})"
        )
    )
