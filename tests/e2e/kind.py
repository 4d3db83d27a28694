"""A cluster of kind, for machines that have Docker: `make kind-up`, then `make e2e`.

What follows goes to `kind create cluster`: `make kind-up ARGS="--image kindest/node:v1.33.1"`
makes one of that Kubernetes.
"""

import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.e2e.image_names import APP, OPERATOR, ROOT, RUNNER

NAME = "server-jobs"

_NEEDED = {
    "docker": "https://docs.docker.com/engine/install/",
    "kind": "https://kind.sigs.k8s.io/docs/user/quick-start/",
}


def is_up() -> bool:
    """Whether there is a cluster that `up` has made."""
    return bool(shutil.which("kind")) and NAME in _said("kind", "get", "clusters").split()


def up(options: Sequence[str]) -> None:
    """Build the images, make the cluster unless it is there, and load them onto its node."""
    for program, source in _NEEDED.items():
        if not shutil.which(program):
            sys.exit(f"kind-up needs `{program}`, which isn't here: {source}")
    if options and is_up():
        sys.exit(f"The cluster is there already: `kind delete cluster --name {NAME}`, then again.")
    _run("docker", "build", "-f", "runner/Dockerfile", "-t", RUNNER, ".")
    _run("docker", "build", "--build-arg", f"RUNNER_IMAGE={RUNNER}", "-t", APP, "tests/e2e/app")
    _run("docker", "build", "-f", "operator/Dockerfile", "-t", OPERATOR, ".")
    if not is_up():
        _run("kind", "create", "cluster", "--name", NAME, "--wait", "120s", *options)
    _run("kind", "load", "docker-image", APP, OPERATOR, "--name", NAME)
    print("`make e2e` runs its tests there now; `kind delete cluster --name server-jobs` ends it")


def environment(folder: Path) -> Mapping[str, str]:
    """By what the tests know it; its kubeconfig is written into the folder."""
    kubeconfig = folder / "kubeconfig"
    kubeconfig.write_text(_said("kind", "get", "kubeconfig", "--name", NAME))
    inspect = ("docker", "network", "inspect", "kind", "--format")
    gateways = _said(*inspect, "{{range .IPAM.Config}}{{.Gateway}} {{end}}").split()
    host = next(address for address in gateways if "." in address)
    return {"KUBECONFIG": str(kubeconfig), "SERVER_JOBS_E2E_HOST": host}


def _said(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def _run(*command: str) -> None:
    subprocess.run(command, cwd=ROOT, check=True)


if __name__ == "__main__":
    up(sys.argv[1:])
