"""`make e2e`: find or make a cluster and the images, and run these tests on it.

With KUBECONFIG it is that cluster; the images are then to be there already, and
SERVER_JOBS_E2E_HOST is to name an address of this machine that pods reach. Without, a cluster is
made here, as root on Linux (tests/cluster), the images are built by buildah, and both are gone
afterwards.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.cluster import images, programs
from tests.cluster.layout import Layout

ROOT = Path(__file__).resolve().parents[2]
PORT = 16460
RUNNER, APP = "localhost/server-jobs-runner:test", "localhost/server-jobs-e2e:test"


def main() -> int:
    command = [sys.executable, "-m", "pytest", "tests/e2e", *sys.argv[1:]]
    if os.environ.get("KUBECONFIG"):
        return subprocess.run(command, cwd=ROOT).returncode
    with tempfile.TemporaryDirectory(prefix="server-jobs-e2e-") as folder:
        layout = Layout(Path(folder) / "cluster", PORT)
        archive = build(Path(folder))
        cluster("up", layout, "--node", "--image", str(archive))
        try:
            environment = os.environ | {
                "KUBECONFIG": str(layout.kubeconfig),
                "SERVER_JOBS_E2E_HOST": layout.host,
                "SERVER_JOBS_E2E_CLUSTER": f"{layout.folder}:{layout.port}",
                "PATH": f"{programs.clients()}:{os.environ['PATH']}",
            }
            return subprocess.run(command, cwd=ROOT, env=environment).returncode
        finally:
            cluster("down", layout)


def build(folder: Path) -> Path:
    """The image of the tests' jobs, from the Dockerfiles, as an archive."""
    programs.install(programs.IMAGE_PACKAGES)
    buildah("pull", "--quiet", f"docker-archive:{images.python()}")
    # What pip needs to reach its index from here, it needs in there too.
    given = [Path(path) for path in ("/etc/pip.conf", "/etc/ssl/certs") if Path(path).exists()]
    volumes = [f"--volume={path}:{path}:ro" for path in given]
    bud = ("bud", "--quiet", "--isolation=chroot", "--network=host", *volumes)
    buildah(*bud, "-f", "runner/Dockerfile", "-t", RUNNER, ".")
    buildah(*bud, "--build-arg", f"RUNNER_IMAGE={RUNNER}", "-t", APP, "tests/e2e/app")
    archive = folder / "image.tar"
    buildah("push", "--quiet", APP, f"docker-archive:{archive}:{APP}")
    return archive


def buildah(*arguments: str) -> None:
    print("buildah", *arguments[:1], arguments[-1], file=sys.stderr)
    subprocess.run(["buildah", *arguments], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


def cluster(command: str, layout: Layout, *options: str) -> None:
    where = ("--port", str(layout.port), "--folder", str(layout.folder))
    module = (sys.executable, "-m", "tests.cluster")
    subprocess.run([*module, command, *where, *options], cwd=ROOT, check=True)


if __name__ == "__main__":
    sys.exit(main())
