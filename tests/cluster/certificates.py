"""The cluster's certificates and kubeconfig files, by the program `openssl`."""

import base64
import json
import os
import subprocess
from pathlib import Path

from tests.cluster.layout import Layout


class Certificates:
    """A certificate authority in a folder and what it signed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def create_authority(self) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._key("ca")
        _openssl(
            *("req", "-x509", "-new", "-key", self.key("ca"), "-out", self.certificate("ca")),
            *("-subj", "/CN=server-jobs-test-cluster", "-days", "3650"),
            *("-addext", "keyUsage=critical,digitalSignature,keyCertSign,cRLSign"),
        )
        # Tokens of service accounts are signed with this one.
        self._key("service-accounts")
        key = ("-in", self.key("service-accounts"), "-pubout")
        _openssl("pkey", *key, "-out", self.public_key("service-accounts"))

    def sign(self, name: str, subject: str, *, serves: list[str] | None = None) -> None:
        """A certificate for a client, or for a server with these alternative names."""
        request, extensions = self.folder / f"{name}.csr", self.folder / f"{name}.ext"
        self._key(name)
        usage = "serverAuth" if serves else "clientAuth"
        lines = [f"extendedKeyUsage={usage}", "keyUsage=critical,digitalSignature"]
        if serves:
            lines.append("subjectAltName=" + ",".join(serves))
        extensions.write_text("\n".join(lines))
        _openssl("req", "-new", "-key", self.key(name), "-subj", subject, "-out", request)
        _openssl(
            *("x509", "-req", "-in", request, "-out", self.certificate(name), "-days", "3650"),
            *("-CA", self.certificate("ca"), "-CAkey", self.key("ca")),
            *("-set_serial", str(int.from_bytes(os.urandom(12))), "-extfile", extensions),
        )
        request.unlink()
        extensions.unlink()

    def write_kubeconfig(self, path: Path, server: str, name: str) -> None:
        """How a program reaches the API server as the subject of the certificate ``name``."""
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "cluster",
            "contexts": [{"name": "cluster", "context": {"cluster": "cluster", "user": name}}],
            "clusters": [
                {
                    "name": "cluster",
                    "cluster": {
                        "server": server,
                        "certificate-authority-data": _encoded(self.certificate("ca")),
                    },
                }
            ],
            "users": [
                {
                    "name": name,
                    "user": {
                        "client-certificate-data": _encoded(self.certificate(name)),
                        "client-key-data": _encoded(self.key(name)),
                    },
                }
            ],
        }
        path.touch(mode=0o600)
        path.write_text(json.dumps(config, indent=1))

    def key(self, name: str) -> Path:
        return self.folder / f"{name}.key"

    def public_key(self, name: str) -> Path:
        return self.folder / f"{name}.pub"

    def certificate(self, name: str) -> Path:
        return self.folder / f"{name}.crt"

    def _key(self, name: str) -> None:
        curve = ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:prime256v1")
        _openssl("genpkey", *curve, "-out", self.key(name))


def issue(layout: Layout, server: str, node: str) -> Certificates:
    """Everything that the cluster's programs show each other."""
    certificates = Certificates(layout.folder / "pki")
    certificates.create_authority()
    certificates.sign(
        "kube-apiserver",
        "/CN=kube-apiserver",
        serves=[
            "DNS:localhost",
            "DNS:kubernetes.default.svc",
            "IP:127.0.0.1",
            f"IP:{layout.host}",
            f"IP:{layout.api_service}",
        ],
    )
    certificates.sign("kubelet-server", f"/CN={node}", serves=[f"IP:{layout.host}"])
    subjects = {
        "admin": "/O=system:masters/CN=admin",
        "kube-controller-manager": "/CN=system:kube-controller-manager",
        "kube-scheduler": "/CN=system:kube-scheduler",
        "kubelet": f"/O=system:nodes/CN=system:node:{node}",
    }
    for name, subject in subjects.items():
        certificates.sign(name, subject)
        certificates.write_kubeconfig(layout.folder / f"{name}.kubeconfig", server, name)
    certificates.write_kubeconfig(layout.kubeconfig, server, "admin")
    # The kubelet asks the API server who may ask it for logs and commands.
    certificates.sign("kubelet-client", "/O=system:masters/CN=kube-apiserver")
    return certificates


def _openssl(*arguments: str | Path) -> None:
    subprocess.run(("openssl", *arguments), check=True, capture_output=True)


def _encoded(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
