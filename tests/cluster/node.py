"""The node: containerd, the pods' bridge and a kubelet, beside whatever else the machine does."""

import json
import os
import subprocess
from collections.abc import Iterable
from pathlib import Path

from tests.cluster import control_plane, programs
from tests.cluster.certificates import Certificates
from tests.cluster.images import PAUSE
from tests.cluster.layout import Layout
from tests.cluster.processes import Processes

CGROUPS = Path("/sys/fs/cgroup")
# The kubelet sets these to what it likes; `removal` sets them back.
KERNEL_SETTINGS = (
    "kernel/keys/root_maxbytes",
    "kernel/keys/root_maxkeys",
    "kernel/panic",
    "kernel/panic_on_oops",
    "vm/overcommit_memory",
    "vm/panic_on_oom",
)

CONTAINERD = """\
version = 2
root = "{folder}/containerd"
state = "{run}/containerd"
[grpc]
  address = "{socket}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  restrict_oom_score_adj = true
  stream_server_address = "127.0.0.1"
  stream_server_port = "{port}"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      Root = "{run}/runc"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{folder}/cni"
"""


def note_kernel_settings(layout: Layout) -> None:
    values = {name: (Path("/proc/sys") / name).read_text() for name in KERNEL_SETTINGS}
    (layout.folder / "kernel.json").write_text(json.dumps(values))


def create_network(layout: Layout) -> None:
    """The bridge of the pods, with the host on it; and the way to the API server's address.

    Pods reach each other and the host, and nothing beyond: no forwarding, no masquerade. There is
    no kube-proxy, since one rule is all that it would be needed for.
    """
    # Else it has the lowest address of its ports: whenever a pod comes or goes that may change,
    # and the other pods go on sending to the old one, to nobody, for most of a minute.
    octets = (f"{int(octet):02x}" for octet in layout.host.split("."))
    mac = ":".join(("02", "00", *octets))
    programs.run("ip", "link", "add", layout.name, "address", mac, "type", "bridge")
    programs.run("ip", "address", "add", f"{layout.host}/24", "dev", layout.name)
    programs.run("ip", "link", "set", layout.name, "up")
    programs.run("iptables", "-w", "-t", "nat", "-A", "PREROUTING", *api_rule(layout))
    network = {
        "cniVersion": "0.4.0",
        "name": layout.name,
        "plugins": [
            {
                "type": "bridge",
                "bridge": layout.name,
                "hairpinMode": True,
                "ipam": {
                    "type": "host-local",
                    "dataDir": str(layout.folder / "addresses"),
                    "ranges": [[{"subnet": layout.pods, "gateway": layout.host}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            }
        ],
    }
    (layout.folder / "cni").mkdir()
    (layout.folder / "cni/network.conflist").write_text(json.dumps(network))


def api_rule(layout: Layout) -> list[str]:
    """The rule, without its chain, that leads pods to the API server."""
    comment = ("-m", "comment", "--comment", layout.name)
    match = ("-d", f"{layout.api_service}/32", "-p", "tcp", "--dport", "443", *comment)
    return [*match, "-j", "DNAT", "--to-destination", f"{layout.host}:{layout.port}"]


def start_containerd(layout: Layout, processes: Processes) -> None:
    layout.run.mkdir()
    config = layout.folder / "containerd.toml"
    config.write_text(
        CONTAINERD.format(
            folder=layout.folder,
            run=layout.run,
            socket=layout.socket,
            pause=PAUSE,
            port=layout.port + 9,
        )
    )
    processes.start("containerd", ["containerd", "--config", config])


def load_images(layout: Layout, processes: Processes, archives: Iterable[Path]) -> None:
    """Put the images of these archives onto the node, once containerd is up."""
    processes.wait_until(lambda: _answers(layout), "containerd")
    for archive in archives:
        load_image(layout, archive)


def load_image(layout: Layout, archive: Path) -> str:
    images = ("ctr", "--address", layout.socket, "--namespace", "k8s.io", "images")
    return programs.run(*images, "import", archive)


def start_kubelet(
    layout: Layout, processes: Processes, certificates: Certificates, name: str
) -> None:
    for folder in cgroup_folders(layout):
        folder.mkdir()
        for setting in ("cpuset.cpus", "cpuset.mems"):  # version 1 does not inherit these
            if (folder / setting).exists():
                (folder / setting).write_text((folder.parent / setting).read_text())
    # Without a DNS server a pod fails at once to find a name, rather than after a time-out.
    names = layout.folder / "resolv.conf"
    names.write_text("nameserver 127.0.0.1\n")
    config = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": layout.host,
        "port": layout.port + 5,
        "healthzPort": layout.port + 6,
        "tlsCertFile": str(certificates.certificate("kubelet-server")),
        "tlsPrivateKeyFile": str(certificates.key("kubelet-server")),
        "authentication": {
            "anonymous": {"enabled": False},
            "x509": {"clientCAFile": str(certificates.certificate("ca"))},
        },
        "containerRuntimeEndpoint": f"unix://{layout.socket}",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{layout.name}",
        "failCgroupV1": False,
        "failSwapOn": False,
        "makeIPTablesUtilChains": False,
        "resolvConf": str(names),
        "podLogsDir": str(layout.folder / "pods"),
        "volumePluginDir": str(layout.folder / "kubelet/volume-plugins"),
        # The machine's disk is not the cluster's to judge, and its images cannot be pulled again.
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "0%"},
        "imageGCHighThresholdPercent": 100,
        "localStorageCapacityIsolation": False,
        "serializeImagePulls": False,
        "nodeStatusUpdateFrequency": "4s",
    }
    path = layout.folder / "kubelet.json"
    path.write_text(json.dumps(config))
    options = [
        f"--config={path}",
        f"--kubeconfig={layout.folder / 'kubelet.kubeconfig'}",
        f"--root-dir={layout.folder / 'kubelet'}",
        f"--cert-dir={layout.folder / 'kubelet/pki'}",
        f"--hostname-override={name}",
        f"--node-ip={layout.host}",
    ]
    processes.start("kubelet", [programs.servers() / "kubelet", *options])


def wait_for_node(layout: Layout, processes: Processes, name: str) -> None:
    ready = ("wait", "--for=condition=Ready", "--timeout=5s", f"node/{name}")
    processes.wait_until(lambda: control_plane.kubectl(layout, *ready), "kubelet")


def cgroup_folders(layout: Layout) -> list[Path]:
    """The cluster's own cgroup, in every hierarchy of version 1 or in the one of version 2."""
    if (CGROUPS / "cgroup.controllers").exists():
        return [CGROUPS / layout.name]
    hierarchies = {path.resolve() for path in CGROUPS.iterdir() if path.name != "unified"}
    return [path / layout.name for path in hierarchies if path.is_dir() and os.path.ismount(path)]


def _answers(layout: Layout) -> bool:
    command: list[str | Path] = ["ctr", "--address", layout.socket, "version"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0
