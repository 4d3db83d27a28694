"""Wheels for the Python of the edge, from PyPI, in folders that can be mounted."""

import sys
from functools import cache
from pathlib import Path

from tests.cloudflare.support.node import run
from tests.cluster.cache import made

PYTHON = "3.14"
PLATFORM = "pyemscripten_2026_0_wasm32"
"""The ABI of Pyodide 314, which compatibility dates from 2026-09-08 run."""

WORKER = Path(__file__).with_name("worker-requirements.txt")
TESTING = Path(__file__).with_name("testing-requirements.txt")


@cache
def installed(requirements: Path) -> Path:
    """The folder with these wheels and nothing that they ask for: the file names all of it."""

    def install(folder: Path) -> None:
        install_into(folder, requirements)

    recipe = f"{PYTHON} {PLATFORM}\n{requirements.read_text()}"
    return made(f"edge-{requirements.stem}", recipe.encode(), install)


def install_into(folder: Path, requirements: Path) -> None:
    """Install the pinned wheels of a file, as pywrangler would, into a folder."""
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    tags = ["--python-version", PYTHON, "--implementation", "cp"]
    for abi in ("cp314", "abi3", "none"):
        tags += ["--abi", abi]
    for platform in (PLATFORM, "any"):
        tags += ["--platform", platform]
    chosen = ["--only-binary", ":all:", "--no-deps", "--no-compile", "--root-user-action", "ignore"]
    target = ["--target", str(folder), "--requirement", str(requirements)]
    run(*pip, *tags, *chosen, *target, folder=folder)
