"""What the images of these tests are called, wherever they are built, and how."""

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RUNNER = "localhost/server-jobs-runner:test"
APP = "localhost/server-jobs-e2e:test"
PLAIN = "localhost/server-jobs-plain:test"
OPERATOR = "localhost/server-jobs-operator:test"
LOADED = (APP, PLAIN, OPERATOR)
"""Those that pods run."""


def builds(folder: Path) -> list[list[str]]:
    """The arguments of each `docker build` or `buildah bud`, in order, from the root.

    What doesn't come from the checkout as it is, a wheel of it, is put into the folder.
    """
    return [
        ["-f", "runner/Dockerfile", "-t", RUNNER, "."],
        ["--build-arg", f"RUNNER_IMAGE={RUNNER}", "-t", APP, "tests/e2e/app"],
        ["-f", "tests/e2e/app/plain.Dockerfile", "-t", PLAIN, str(_wheel_and_jobs(folder))],
        ["-f", "operator/Dockerfile", "-t", OPERATOR, "."],
    ]


def _wheel_and_jobs(folder: Path) -> Path:
    """What an image that isn't built on ours is built from."""
    context = folder / "plain"
    wheel = (sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(context))
    subprocess.run([*wheel, str(ROOT)], check=True, stdout=subprocess.DEVNULL)
    shutil.copy(ROOT / "tests/e2e/app/jobs.py", context)
    return context
