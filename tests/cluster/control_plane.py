"""The servers without a node: etcd, the API server, the controllers and the scheduler."""

import json
import subprocess
from pathlib import Path

from tests.cluster import programs
from tests.cluster.certificates import Certificates
from tests.cluster.layout import Layout
from tests.cluster.processes import Processes

# What the cluster's own parts do says nothing about those that are tested.
AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [
        {
            "level": "None",
            "users": [
                "system:apiserver",
                "system:kube-controller-manager",
                "system:kube-scheduler",
            ],
        },
        {"level": "None", "userGroups": ["system:nodes", "system:serviceaccounts:kube-system"]},
        {"level": "Metadata"},
    ],
}


def start_api(
    layout: Layout, processes: Processes, certificates: Certificates, address: str, *, audit: bool
) -> None:
    """Start etcd and the API server, which takes some seconds until it is ready."""
    store, peers = (f"http://127.0.0.1:{layout.port + offset}" for offset in (1, 2))
    processes.start(
        "etcd",
        [
            programs.clients() / "etcd",
            f"--data-dir={layout.folder / 'etcd'}",
            "--unsafe-no-fsync",  # a test's data need not outlive a power cut
            "--log-level=warn",
            f"--listen-client-urls={store}",
            f"--advertise-client-urls={store}",
            f"--listen-peer-urls={peers}",
            f"--initial-advertise-peer-urls={peers}",
            f"--initial-cluster=default={peers}",
        ],
    )
    ca = certificates.certificate("ca")
    issuer = "https://kubernetes.default.svc"
    options = [
        f"--etcd-servers={store}",
        f"--bind-address={address}",
        f"--advertise-address={layout.host}",
        f"--secure-port={layout.port}",
        f"--service-cluster-ip-range={layout.services}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        f"--client-ca-file={ca}",
        f"--tls-cert-file={certificates.certificate('kube-apiserver')}",
        f"--tls-private-key-file={certificates.key('kube-apiserver')}",
        f"--kubelet-client-certificate={certificates.certificate('kubelet-client')}",
        f"--kubelet-client-key={certificates.key('kubelet-client')}",
        f"--kubelet-certificate-authority={ca}",
        "--kubelet-preferred-address-types=InternalIP",
        f"--service-account-issuer={issuer}",
        f"--service-account-key-file={certificates.public_key('service-accounts')}",
        f"--service-account-signing-key-file={certificates.key('service-accounts')}",
    ]
    if address != layout.host:  # no address that pods could reach it at
        options.append("--endpoint-reconciler-type=none")
    if audit:
        policy = layout.folder / "audit-policy.json"
        policy.write_text(json.dumps(AUDIT_POLICY))
        options += [f"--audit-policy-file={policy}", f"--audit-log-path={layout.audit_log}"]
        options.append("--audit-log-mode=blocking")  # a request that was answered is in the log
    processes.start("kube-apiserver", [programs.servers() / "kube-apiserver", *options])


def wait_for_api(layout: Layout, processes: Processes) -> None:
    processes.wait_until(lambda: kubectl(layout, "get", "--raw", "/readyz"), "kube-apiserver")


def start_controllers(layout: Layout, processes: Processes, certificates: Certificates) -> None:
    """Start what acts on the objects: the controllers, and the scheduler."""
    for offset, name in enumerate(("kube-controller-manager", "kube-scheduler"), start=3):
        config = layout.folder / f"{name}.kubeconfig"
        options = [
            *(f"--{use}kubeconfig={config}" for use in ("", "authentication-", "authorization-")),
            "--bind-address=127.0.0.1",
            f"--secure-port={layout.port + offset}",
            f"--cert-dir={layout.folder / name}",
            "--leader-elect=false",
            # Benchmarks create thousands of Jobs, and it is not these limits that they measure.
            "--kube-api-qps=500",
            "--kube-api-burst=1000",
        ]
        if name == "kube-controller-manager":
            options += [
                "--use-service-account-credentials",
                f"--service-account-private-key-file={certificates.key('service-accounts')}",
                f"--root-ca-file={certificates.certificate('ca')}",
                f"--flex-volume-plugin-dir={layout.folder / 'flexvolume'}",
            ]
        processes.start(name, [programs.servers() / name, *options])


def wait_for_controllers(layout: Layout, processes: Processes) -> None:
    # Without the account no pod can be made in the namespace.
    account = ("get", "serviceaccount", "default", "--namespace=default")
    processes.wait_until(lambda: kubectl(layout, *account), "kube-controller-manager")


def kubectl(layout: Layout, *arguments: str) -> bool:
    """Whether kubectl did what it was asked."""
    program = programs.clients() / "kubectl"
    command: list[str | Path] = [program, f"--kubeconfig={layout.kubeconfig}", *arguments]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0
