"""A small real Kubernetes cluster on this machine, without Docker: `python -m tests.cluster up`."""

import argparse
import os
import signal
import sys
import time
from pathlib import Path

from tests.cluster import cache, certificates, control_plane, images, node, programs, removal
from tests.cluster.layout import DEFAULT_PORT, Layout
from tests.cluster.processes import ClusterFailed, Processes


def main() -> int:
    arguments = _parser().parse_args()
    folder = arguments.folder or cache.root() / "clusters" / str(arguments.port)
    layout = Layout(folder.absolute(), arguments.port)
    if os.geteuid() != 0:
        print("The cluster needs root: it makes cgroups, mounts and a bridge.", file=sys.stderr)
        return 1
    try:
        arguments.command(layout, arguments)
    except ClusterFailed as failure:
        print(failure, file=sys.stderr)
        return 1
    return 0


def up(layout: Layout, arguments: argparse.Namespace) -> None:
    programs.clients(), programs.servers()
    archives = [images.pause(), images.python(), *arguments.image] if arguments.node else []
    if arguments.node:
        programs.install(programs.NODE_PACKAGES)
    if layout.folder.exists():
        raise ClusterFailed(f"There is a cluster in {layout.folder} already: take it down first.")
    layout.folder.mkdir(parents=True)
    try:
        _start(layout, arguments, archives)
    except BaseException:
        removal.remove(layout)
        raise
    print(layout.kubeconfig)


def _start(layout: Layout, arguments: argparse.Namespace, archives: list[Path]) -> None:
    began = time.monotonic()

    def passed(step: str) -> None:
        print(f"{time.monotonic() - began:6.1f} s  {step}", file=sys.stderr)

    processes = Processes(layout)
    # With a node the API server listens where pods reach it, and there alone.
    address = layout.host if arguments.node else "127.0.0.1"
    signed = certificates.issue(layout, f"https://{address}:{layout.port}", layout.name)
    passed("certificates")
    if arguments.node:
        node.note_kernel_settings(layout)
        node.create_network(layout)
        node.start_containerd(layout, processes)
    control_plane.start_api(layout, processes, signed, address, audit=arguments.audit)
    if arguments.node:
        node.load_images(layout, processes, archives)
        passed("containerd and its images")
    control_plane.wait_for_api(layout, processes)
    passed("API server")
    control_plane.start_controllers(layout, processes, signed)
    if arguments.node:
        node.start_kubelet(layout, processes, signed, layout.name)
    control_plane.wait_for_controllers(layout, processes)
    passed("controllers")
    if arguments.node:
        node.wait_for_node(layout, processes, layout.name)
        passed("node")


def down(layout: Layout, arguments: argparse.Namespace) -> None:
    removal.remove(layout)


def load_image(layout: Layout, arguments: argparse.Namespace) -> None:
    for archive in arguments.archive:
        print(node.load_image(layout, archive), end="")


def send(layout: Layout, arguments: argparse.Namespace) -> None:
    Processes(layout).send(arguments.process, signal.Signals[f"SIG{arguments.signal}"])


def fetch(layout: Layout, arguments: argparse.Namespace) -> None:
    programs.install(programs.NODE_PACKAGES)
    images.pause()
    print(f"{programs.servers()}\n{programs.clients()}\n{images.python()}")


def _parser() -> argparse.ArgumentParser:
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument(
        "--port",
        type=int,
        default=DEFAULT_PORT,
        help="the API server's; the nine after it are the cluster's too (default: %(default)s)",
    )
    shared.add_argument("--folder", type=Path, help="for its data (default: in the cache)")
    parser = argparse.ArgumentParser(prog="python -m tests.cluster", description=__doc__)
    commands = parser.add_subparsers(required=True)

    def command(name: str, function: object, help: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, parents=[shared], help=help)
        added.set_defaults(command=function)
        return added

    starting = command("up", up, "start a cluster; the last line is its kubeconfig's path")
    starting.add_argument("--node", action="store_true", help="with a node, so that pods run")
    starting.add_argument("--audit", action="store_true", help="log requests to FOLDER/audit.log")
    starting.add_argument(
        "--image", type=Path, action="append", default=[], help="an archive to load onto the node"
    )
    command("down", down, "stop the cluster and remove every trace of it")
    loading = command("load-image", load_image, "load image archives onto the node")
    loading.add_argument("archive", type=Path, nargs="+")
    sending = command("signal", send, "signal one of the cluster's processes, for a drill")
    sending.add_argument("process", help="for instance kube-apiserver")
    sending.add_argument("signal", choices=["STOP", "CONT", "TERM", "KILL"])
    command("fetch", fetch, "make what is cached; print where servers, tools and base image are")
    return parser


if __name__ == "__main__":
    sys.exit(main())
