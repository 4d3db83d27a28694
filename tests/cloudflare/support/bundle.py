"""What ``wrangler deploy`` would upload, made without the vendor's network.

``pywrangler`` vendors a Worker's packages with a Python that it downloads; here pip does the same
with the same wheels. As a program: ``python -m tests.cloudflare.support.bundle FOLDER`` copies
``cloudflare/`` to FOLDER, vendors what it needs and shows what wrangler says.
"""

import json
import os
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.cloudflare.support import wheels
from tests.cloudflare.support.edge import ROOT
from tests.cloudflare.support.node import node, npx, run

FIXTURE = ROOT / "tests" / "cloudflare" / "worker"
DEPLOYABLE = ROOT / "cloudflare"

# What pywrangler, wrangler and npm leave in the folder of a Worker that somebody works on.
MADE = ("python_modules", ".venv*", ".wrangler", "node_modules", ".dev.vars", "pylock.toml")

_TOTAL = re.compile(r"Total Upload: ([\d.]+) KiB / gzip: ([\d.]+) KiB")


@dataclass(frozen=True)
class Bundle:
    """Files as they would be uploaded, and their size."""

    folder: Path
    module: str
    bytes: int
    compressed_bytes: int
    warnings: list[str]

    @property
    def packages(self) -> Path:
        return self.folder / "python_modules"

    def files(self) -> set[str]:
        """The vendored files, by their paths."""
        files = (path for path in self.packages.rglob("*") if path.is_file())
        return {path.relative_to(self.packages).as_posix() for path in files}

    def mounts(self) -> dict[str, Path]:
        """Where the platform puts the files."""
        return {"/session/metadata/python_modules": self.packages, "/session/metadata": self.folder}


def build(worker: Path, folder: Path) -> Bundle:
    """Copy a Worker to an empty folder, vendor its packages there, and have wrangler pack it."""
    shutil.copytree(worker, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns(*MADE))
    vendor(folder / "python_modules")
    environment = {
        **os.environ,
        "CI": "true",
        "NO_COLOR": "1",
        "WRANGLER_SEND_METRICS": "false",
        "WRANGLER_LOG_PATH": str(folder / "wrangler.log"),
        "PATH": f"{node().parent}{os.pathsep}{os.environ['PATH']}",
    }
    out = folder / "out"
    command = [*npx("wrangler"), "deploy", "--dry-run", "--outdir", str(out)]
    said = run(*command, folder=folder, env=environment)
    total = _TOTAL.search(said)
    assert total, said
    return Bundle(
        folder=out,
        module=_main(folder),
        bytes=round(float(total[1]) * 1024),
        compressed_bytes=round(float(total[2]) * 1024),
        warnings=_warnings(said),
    )


def vendor(folder: Path) -> None:
    """Fill ``python_modules`` as pywrangler does: the pinned wheels, and the clone's own."""
    ignored = shutil.ignore_patterns("__pycache__")
    for installed in (wheels.installed(wheels.WORKER), wheels.own()):
        shutil.copytree(installed, folder, ignore=ignored, dirs_exist_ok=True)
    for mark in ("pyvenv.cfg", ".synced"):
        (folder / mark).touch()


def _main(folder: Path) -> str:
    lines = (folder / "wrangler.jsonc").read_text().splitlines()
    plain = "\n".join(line for line in lines if not line.lstrip().startswith("//"))
    found = re.search(r'"main"\s*:\s*("[^"]+")', plain)
    assert found, "wrangler.jsonc names no main module"
    return Path(json.loads(found[1])).stem


def _warnings(said: str) -> list[str]:
    """Each warning with the lines that explain it."""
    blocks = re.split(r"\n(?=\S)", said)
    return [block for block in blocks if "WARNING" in block]


if __name__ == "__main__":
    bundle = build(DEPLOYABLE, Path(sys.argv[1]))
    print(*bundle.warnings, sep="\n")
    print(f"{bundle.bytes:,} bytes, {bundle.compressed_bytes:,} compressed, in {bundle.folder}")
