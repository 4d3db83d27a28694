"""Operators, as processes of this machine with the cluster's kubeconfig: they can be killed."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

PATIENCE_SECONDS = 90.0


class OperatorProcess:
    """A ``server-jobs-operator run`` for one namespace."""

    def __init__(
        self, folder: Path, namespace: str, database_url: str, kubeconfig: Path | None = None
    ) -> None:
        self._log = folder / f"operator-{len(list(folder.glob('operator-*.log')))}.log"
        self._namespace = namespace
        self._database_url = database_url
        self._kubeconfig = str(kubeconfig or os.environ["KUBECONFIG"])
        self._health_port = _free_port()
        self._metrics_port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *options: str, dies: str | None = None) -> None:
        """Start it; with ``dies``, to be killed at that point of its first launch."""
        program = ["tests.e2e.support.dying_operator", dies] if dies else ["server_jobs_operator"]
        command = [sys.executable, "-m", *program, "run"]
        command += ["--namespace", self._namespace, "--install-id", self._namespace]
        command += ["--reconcile-interval", "2", "--log-format", "json", "--lease", "20"]
        command += ["--health-port", str(self._health_port)]
        command += ["--metrics-port", str(self._metrics_port), *options]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                env=os.environ
                | {
                    "KUBECONFIG": self._kubeconfig,
                    "SERVER_JOBS_DATABASE_URL": self._database_url,
                    "SERVER_JOBS_OPERATOR_OWN_NAMESPACE": self._namespace,
                },
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def kill(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """It sees and does nothing meanwhile."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def terminate(self) -> int:
        """Ask it to end → its exit status."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(PATIENCE_SECONDS)

    def wait(self) -> int:
        """Until it ends by itself → its exit status."""
        assert self._process is not None
        return self._process.wait(PATIENCE_SECONDS)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self.probe("readyz") != 200:
            assert self._process is not None
            assert self._process.poll() is None, self.log
            assert time.monotonic() < deadline, self.log
            time.sleep(0.1)

    def probe(self, path: str) -> int:
        """The status of a probe; 0 where nobody answers."""
        try:
            url = f"http://127.0.0.1:{self._health_port}/{path}"
            with urllib.request.urlopen(url, timeout=10) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0

    @property
    def metrics(self) -> str:
        url = f"http://127.0.0.1:{self._metrics_port}/metrics"
        with urllib.request.urlopen(url) as answer:
            return str(answer.read().decode())

    def figure(self, name: str, **labels: str) -> float | None:
        """The value of a metric, by its name without our prefix; None where there is none."""
        wanted = f"server_jobs_{name}"
        for family in text_string_to_metric_families(self.metrics):
            for sample in family.samples:
                if sample.name == wanted and sample.labels == labels:
                    return float(sample.value)
        return None

    @property
    def log(self) -> str:
        return self._log.read_text()

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.splitlines() if line.startswith("{")]

    @contextmanager
    def running(self, *options: str) -> Iterator["OperatorProcess"]:
        self.start(*options)
        try:
            yield self
        finally:
            if self.alive:
                self.kill()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
