"""Wheels for the Python of the edge, from PyPI, in folders that can be mounted."""

import re
import sys
import tomllib
from functools import cache
from pathlib import Path

from tests.cloudflare.support.node import run
from tests.cluster.cache import made

ROOT = Path(__file__).parents[3]
PYTHON = "3.14"
PLATFORM = "pyemscripten_2026_0_wasm32"
"""The ABI of Pyodide 314, which compatibility dates from 2026-09-08 run."""

WORKER = ROOT / "cloudflare" / "pyproject.toml"
"""What pywrangler vendors, too."""
TESTING = Path(__file__).with_name("testing-requirements.txt")


def pins(file: Path) -> list[str]:
    """What a requirements file, or a Worker's ``pyproject.toml``, pins."""
    if file.suffix == ".toml":
        named = tomllib.loads(file.read_text())["project"]["dependencies"]
        return [each for each in named if each != "server-jobs"]  # the clone's own
    lines = [line.strip() for line in file.read_text().splitlines()]
    return [line for line in lines if re.match(r"\w", line)]


@cache
def installed(file: Path) -> Path:
    """The folder with these wheels and nothing that they ask for: the file names all of it."""

    def install(folder: Path) -> None:
        _install(folder, pins(file))

    recipe = "\n".join([f"{PYTHON} {PLATFORM}", *pins(file)])
    return made(f"edge-{file.stem}", recipe.encode(), install)


@cache
def own() -> Path:
    """The folder with the wheel of this clone, installed as anybody would install it."""
    sources = [ROOT / "pyproject.toml", ROOT / "README.md"]
    for package in ("runner/server_jobs", "operator", "cloudflare/server_jobs_cloudflare"):
        files = (ROOT / package).rglob("*")
        sources += sorted(file for file in files if file.is_file() and file.suffix != ".pyc")
    recipe = b"".join(str(file.relative_to(ROOT)).encode() + file.read_bytes() for file in sources)

    def install(folder: Path) -> None:
        wheels = folder / "wheels"
        build = [sys.executable, "-m", "build", "--wheel", "--no-isolation"]
        run(*build, "--outdir", str(wheels), str(ROOT), folder=folder)
        (wheel,) = wheels.glob("*.whl")
        _install(folder / "installed", [str(wheel)])

    return made("edge-own", recipe, install) / "installed"


def _install(folder: Path, requirements: list[str]) -> None:
    """Install wheels, as pywrangler would, into a folder."""
    folder.mkdir(exist_ok=True)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    tags = ["--python-version", PYTHON, "--implementation", "cp"]
    for abi in ("cp314", "abi3", "none"):
        tags += ["--abi", abi]
    for platform in (PLATFORM, "any"):
        tags += ["--platform", platform]
    chosen = ["--only-binary", ":all:", "--no-deps", "--no-compile", "--root-user-action", "ignore"]
    run(*pip, *tags, *chosen, "--target", str(folder), *requirements, folder=folder)
