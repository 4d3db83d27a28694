"""Build the documentation's site and check it: ``make docs``.

Ends with exit status 1 on a broken link or anchor, on a public name that has no docstring or
isn't in the reference, and on a page that would load something from another host.
"""

from __future__ import annotations

import os
import subprocess
import sys
from argparse import ArgumentParser
from collections.abc import Iterator
from pathlib import Path

from tools.site import links
from tools.site.pages import ROOT, assemble
from tools.site.public_names import MODULES, public_names, undocumented

PAGES = ROOT / "build" / "site-pages"  # `docs_dir` of zensical.toml
SITE = ROOT / "site"


def main() -> int:
    """Build and check → the exit status."""
    arguments = ArgumentParser(prog="python -m tools.site", description=__doc__)
    arguments.add_argument("zensical", type=Path, help="the builder's program")
    zensical = arguments.parse_args().zensical
    wrong = [f"{name} is public and has no docstring" for name in undocumented()]
    if not wrong:
        assemble(PAGES)
        # Its extension of ours is imported from the root.
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        command = [zensical, "build", "--clean", "--strict"]
        built = subprocess.run(command, cwd=ROOT, env=environment)
        if built.returncode != 0:
            return 1
        wrong = [*links.problems(SITE), *missing_from_the_reference(SITE)]
    for line in wrong:
        print(line, file=sys.stderr)
    if wrong:
        print(f"\nFaults in the documentation, listed above: {len(wrong)}.", file=sys.stderr)
        return 1
    print(f"To read the site: python3 -m http.server --directory {SITE.relative_to(ROOT)}")
    return 0


def missing_from_the_reference(site: Path) -> Iterator[str]:
    """Public names that no page of the API reference shows."""
    shown = {anchor for page in site.glob("api/**/*.html") for anchor in links.anchors(page)}
    for module in MODULES:
        for name in public_names(module):
            if f"{module}.{name}" not in shown:
                yield f"{module}.{name} is public and isn't in the API reference: see docs/api/"


if __name__ == "__main__":
    sys.exit(main())
