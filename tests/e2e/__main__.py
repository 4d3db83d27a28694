"""`make e2e`: find or make a cluster and the images, and run these tests on it.

With KUBECONFIG it is that cluster; the images are then to be there already, and
SERVER_JOBS_E2E_HOST has to name an address of this machine that pods reach. Else it is the kind
cluster of `make kind-up`, if there is one. Else a cluster is made here, as root on Linux
(tests/cluster), the images are built by buildah, and the cluster is gone afterwards.
"""

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.cluster import images, programs
from tests.cluster.layout import Layout
from tests.e2e import kind
from tests.e2e.image_names import LOADED, ROOT, builds

PORT = 16460
HOST = "SERVER_JOBS_E2E_HOST"


def main() -> int:
    command = [sys.executable, "-m", "pytest", "tests/e2e", *sys.argv[1:]]
    with cluster() as environment:
        with subprocess.Popen(command, cwd=ROOT, env=os.environ | environment) as tests:
            while True:
                with contextlib.suppress(KeyboardInterrupt):
                    # Ctrl-C reaches them too: what they have started is theirs to end.
                    return tests.wait()


@contextmanager
def cluster() -> Iterator[Mapping[str, str]]:
    """The environment by which the tests know a cluster."""
    if os.environ.get("KUBECONFIG"):
        if not os.environ.get(HOST):
            sys.exit(
                f"KUBECONFIG is set and {HOST} isn't: the tests' PostgreSQL runs on this machine,"
                f" and pods have to reach it. Set {HOST} to an address of this machine that they"
                " reach, or unset KUBECONFIG: then kind's cluster is used, or one is made."
            )
        kind.require_clients()
        yield {}
    elif kind.is_up():
        kind.require_clients()
        with tempfile.TemporaryDirectory(prefix="server-jobs-e2e-") as folder:
            yield kind.environment(Path(folder))
    else:
        with (
            tempfile.TemporaryDirectory(prefix="server-jobs-e2e-") as folder,
            _own_cluster(Path(folder)) as environment,
        ):
            yield environment


@contextmanager
def _own_cluster(folder: Path) -> Iterator[Mapping[str, str]]:
    layout = Layout(folder / "cluster", PORT)
    archives = [f"--image={archive}" for archive in build(folder)]
    _cluster("up", layout, "--node", "--audit", *archives)
    try:
        yield {
            "KUBECONFIG": str(layout.kubeconfig),
            HOST: layout.host,
            "SERVER_JOBS_E2E_CLUSTER": f"{layout.folder}:{layout.port}",
            "SERVER_JOBS_E2E_AUDIT_LOG": str(layout.audit_log),
            "SERVER_JOBS_E2E_HELM_3": str(programs.helm_3()),
            "PATH": f"{programs.clients()}:{os.environ['PATH']}",
        }
    finally:
        _cluster("down", layout)


def build(folder: Path) -> list[Path]:
    """The images that pods run, from the Dockerfiles, as archives."""
    programs.install(programs.IMAGE_PACKAGES)
    buildah("pull", "--quiet", f"docker-archive:{images.python()}")
    # What pip needs to reach its index from here, it needs in there too.
    given = [Path(path) for path in ("/etc/pip.conf", "/etc/ssl/certs") if Path(path).exists()]
    volumes = [f"--volume={path}:{path}:ro" for path in given]
    bud = ("bud", "--quiet", "--isolation=chroot", "--network=host", *volumes)
    for arguments in builds(folder):
        buildah(*bud, *arguments)
    archives = []
    for number, image in enumerate(LOADED):
        archives.append(folder / f"image-{number}.tar")
        buildah("push", "--quiet", image, f"docker-archive:{archives[-1]}:{image}")
    return archives


def buildah(*arguments: str) -> None:
    print("buildah", *arguments[:1], arguments[-1], file=sys.stderr)
    subprocess.run(["buildah", *arguments], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


def _cluster(command: str, layout: Layout, *options: str) -> None:
    where = ("--port", str(layout.port), "--folder", str(layout.folder))
    module = (sys.executable, "-m", "tests.cluster")
    subprocess.run([*module, command, *where, *options], cwd=ROOT, check=True)


if __name__ == "__main__":
    sys.exit(main())
