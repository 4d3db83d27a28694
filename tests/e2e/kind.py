"""A cluster of kind, for machines that have Docker: `make kind-up`, then `make e2e`.

What follows goes to `kind create cluster`: `make kind-up ARGS="--image kindest/node:v1.33.1"`
makes one of that Kubernetes.
"""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.e2e.image_names import LOADED, ROOT, builds

NAME = "server-jobs"

_CLIENTS = {
    "kubectl": "https://kubernetes.io/docs/tasks/tools/",
    "helm": "https://helm.sh/docs/intro/install/",
}
_NEEDED = {
    "docker": "https://docs.docker.com/engine/install/",
    "kind": "https://kind.sigs.k8s.io/docs/user/quick-start/",
    **_CLIENTS,
}


def require_clients() -> None:
    """What the tests call, on whichever cluster. Only the project's own brings them along."""
    _require(_CLIENTS, "the end-to-end tests need")


def is_up() -> bool:
    """Whether there is a cluster that `up` has made."""
    if not shutil.which("kind"):
        return False
    # It fails where Docker doesn't run: then there is no cluster either.
    asked = subprocess.run(["kind", "get", "clusters"], capture_output=True, text=True)
    return asked.returncode == 0 and NAME in asked.stdout.split()


def up(options: Sequence[str]) -> None:
    """Build the images, make the cluster unless it is there, and load them onto its node."""
    _require(_NEEDED, "kind-up needs")
    if options and is_up():
        sys.exit(f"The cluster is there already: `kind delete cluster --name {NAME}`, then again.")
    with tempfile.TemporaryDirectory(prefix="server-jobs-kind-") as folder:
        for arguments in builds(Path(folder)):
            _run("docker", "build", *arguments)
    if not is_up():
        _run("kind", "create", "cluster", "--name", NAME, "--wait", "120s", *options)
    _run("kind", "load", "docker-image", *LOADED, "--name", NAME)
    print("`make e2e` runs its tests there now; `kind delete cluster --name server-jobs` ends it")


def environment(folder: Path) -> Mapping[str, str]:
    """By what the tests know it; its kubeconfig is written into the folder."""
    kubeconfig = folder / "kubeconfig"
    kubeconfig.write_text(_said("kind", "get", "kubeconfig", "--name", NAME))
    inspect = ("docker", "network", "inspect", "kind", "--format")
    gateways = _said(*inspect, "{{range .IPAM.Config}}{{.Gateway}} {{end}}").split()
    host = next(address for address in gateways if "." in address)
    return {"KUBECONFIG": str(kubeconfig), "SERVER_JOBS_E2E_HOST": host}


def _require(programs: Mapping[str, str], who: str) -> None:
    for program, source in programs.items():
        if not shutil.which(program):
            sys.exit(f"{who} `{program}`, which isn't here: {source}")


def _said(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def _run(*command: str) -> None:
    subprocess.run(command, cwd=ROOT, check=True)


if __name__ == "__main__":
    up(sys.argv[1:])
