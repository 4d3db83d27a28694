"""The source distribution: what git doesn't know must not be published."""

import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# Whatever tools leave in cloudflare/ as somebody works there; the first three hold secrets.
LEFT = (
    ".dev.vars",
    ".dev.vars.e2e",
    ".dev.vars.production",
    ".venv-workers/pyvenv.cfg",
    ".wrangler/state/v3/d1/db.sqlite",
    "node_modules/wrangler/package.json",
    "pylock.toml",
    "python_modules/pydantic/main.py",
)


@pytest.fixture(scope="module")
def worked_in(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the clone, without git, in which somebody has deployed the Worker."""
    clone = tmp_path_factory.mktemp("sdist") / "clone"
    left_out = shutil.ignore_patterns(
        ".git", ".venv*", ".mypy_cache", ".ruff_cache", ".pytest_cache", "__pycache__", "tests"
    )
    shutil.copytree(ROOT, clone, ignore=left_out, symlinks=True)
    for name in LEFT:
        file = clone / "cloudflare" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("a secret")
    return clone


def _sdist(clone: Path, folder: Path) -> set[str]:
    command = [sys.executable, "-m", "build", "--sdist", "--no-isolation", "--outdir", str(folder)]
    built = subprocess.run([*command, str(clone)], capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as files:
        return {name.partition("/")[2] for name in files.getnames()}


def test_sdist_has_no_secrets_and_nothing_that_tools_left(worked_in: Path, tmp_path: Path) -> None:
    (worked_in / ".gitignore").unlink(missing_ok=True)  # hatchling would heed it

    names = _sdist(worked_in, tmp_path)

    assert "cloudflare/wrangler.jsonc" in names
    assert "cloudflare/.dev.vars.example" in names
    assert not names & {f"cloudflare/{name}" for name in LEFT}


def test_git_ignores_the_same(tmp_path: Path) -> None:
    shutil.copy(ROOT / ".gitignore", tmp_path)
    git = ["git", "-C", str(tmp_path)]
    subprocess.run([*git, "init", "--quiet"], check=True)

    paths = [f"cloudflare/{name}" for name in (*LEFT, ".dev.vars.example")]
    said = subprocess.run([*git, "check-ignore", *paths], capture_output=True, text=True)

    assert set(said.stdout.split()) == {f"cloudflare/{name}" for name in LEFT}
