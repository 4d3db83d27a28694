"""What one cluster has for itself. All follows from its port, so that several live side by side."""

from dataclasses import dataclass
from pathlib import Path

DEFAULT_PORT = 16440


@dataclass(frozen=True)
class Layout:
    """The names, addresses and ports of the cluster whose API server listens on ``port``.

    The ports up to ``port + 9`` are the cluster's too.
    """

    folder: Path
    port: int

    @property
    def number(self) -> int:
        return self.port // 10 % 250

    @property
    def name(self) -> str:
        """In the names of bridge, cgroups, rules and whatever else must be found again."""
        return f"sj-k8s-{self.number}"

    @property
    def pods(self) -> str:
        return f"10.244.{self.number}.0/24"

    @property
    def host(self) -> str:
        """The host's address on the pods' bridge."""
        return f"10.244.{self.number}.1"

    @property
    def services(self) -> str:
        return f"10.96.{self.number}.0/24"

    @property
    def api_service(self) -> str:
        """The address that pods know the API server by."""
        return f"10.96.{self.number}.1"

    @property
    def run(self) -> Path:
        """Sockets: a path of theirs may have some 100 bytes, and the folder's name may be long."""
        return Path("/run") / self.name

    @property
    def socket(self) -> Path:
        return self.run / "containerd.sock"

    @property
    def kubeconfig(self) -> Path:
        return self.folder / "kubeconfig"

    @property
    def audit_log(self) -> Path:
        return self.folder / "audit.log"

    def log(self, process: str) -> Path:
        return self.folder / "logs" / f"{process}.log"
