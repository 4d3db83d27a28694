"""Taking a cluster away: its processes, and what they left in the kernel and about the machine."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from tests.cluster import node
from tests.cluster.layout import Layout
from tests.cluster.processes import Processes

KUBELET_LINKS = Path("/var/log/containers")
CNI_RESULTS = Path("/var/lib/cni/results")


def remove(layout: Layout) -> None:
    """Leave nothing of the cluster. May be called again, and after a start that failed halfway."""
    processes = Processes(layout)
    processes.stop("kubelet", grace_seconds=1)
    for name in ("kube-scheduler", "kube-controller-manager", "kube-apiserver", "etcd"):
        processes.stop(name)  # at once: what they hold is to be deleted
    _kill_containers(layout)
    processes.stop("containerd", grace_seconds=5)
    _kill_shims(layout)
    _unmount(layout)
    _remove_network(layout)
    _remove_cgroups(layout)
    _restore_kernel_settings(layout)
    if KUBELET_LINKS.exists():
        for link in KUBELET_LINKS.iterdir():
            if Path(os.readlink(link)).is_relative_to(layout.folder):
                link.unlink()
    shutil.rmtree(layout.run, ignore_errors=True)
    shutil.rmtree(layout.folder, ignore_errors=True)


def _kill_containers(layout: Layout) -> None:
    if not layout.socket.exists():
        return
    containerd = ("ctr", "--address", str(layout.socket), "--namespace", "k8s.io")
    tasks = _try(*containerd, "tasks", "list", "--quiet").split()
    for task in tasks:
        _try(*containerd, "tasks", "kill", "--signal", "SIGKILL", "--all", task)
    if tasks:
        _try(*containerd, "tasks", "delete", "--force", *tasks)
    if containers := _try(*containerd, "containers", "list", "--quiet").split():
        _try(*containerd, "containers", "delete", *containers)


def _kill_shims(layout: Layout) -> None:
    """Containers' shims outlive containerd; they know its socket by a flag."""
    socket = os.fsencode(layout.socket)
    for arguments in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            if socket in arguments.read_bytes().split(b"\0"):
                os.kill(int(arguments.parent.name), signal.SIGKILL)


def _unmount(layout: Layout) -> None:
    mounts = [Path(line.split()[1]) for line in Path("/proc/mounts").read_text().splitlines()]
    for mount in sorted(mounts, reverse=True):  # what lies in another comes first
        if mount.is_relative_to(layout.folder) or mount.is_relative_to(layout.run):
            _try("umount", "--lazy", str(mount))


def _remove_network(layout: Layout) -> None:
    for namespace in _namespaces(layout):
        _try("ip", "netns", "delete", namespace)
    _try("ip", "link", "delete", layout.name)
    _try("iptables", "-w", "-t", "nat", "-D", "PREROUTING", *node.api_rule(layout))
    for result in CNI_RESULTS.glob(f"{layout.name}-*"):
        result.unlink()


def _namespaces(layout: Layout) -> Iterator[str]:
    """The pods' network namespaces: those with an address on our bridge."""
    prefix = layout.host.rpartition(".")[0] + "."
    for namespace in json.loads(_try("ip", "-json", "netns", "list") or "[]"):
        name = namespace["name"]
        if f"inet {prefix}" in _try("ip", "-netns", name, "-4", "address"):
            yield name


def _remove_cgroups(layout: Layout) -> None:
    deadline = time.monotonic() + 5
    while folders := [folder for folder in node.cgroup_folders(layout) if folder.exists()]:
        for folder in folders:
            for path, _, _ in os.walk(folder, topdown=False):
                with contextlib.suppress(OSError):  # busy until its last process is reaped
                    Path(path).rmdir()
        if time.monotonic() > deadline:
            break
        time.sleep(0.05)


def _restore_kernel_settings(layout: Layout) -> None:
    noted = layout.folder / "kernel.json"
    if noted.exists():
        for name, value in json.loads(noted.read_text()).items():
            (Path("/proc/sys") / name).write_text(value)


def _try(*command: str) -> str:
    """What the command printed; nothing where it fails: there may be nothing to remove."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return ""
    return done.stdout
