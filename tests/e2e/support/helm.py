"""Helm, of whatever version, within one namespace."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.support.kubectl import Kubectl

CHART = Path(__file__).resolve().parents[3] / "charts" / "server-jobs"
RELEASE = "server-jobs"


class Helm:
    """One release of the chart."""

    def __init__(self, namespace: Kubectl, program: str = "helm") -> None:
        self._namespace = namespace.namespace
        self._program = program

    def install(self, values: dict[str, Any], *options: str, release: str = RELEASE) -> None:
        # Definitions that an earlier release, or kubectl, has left are taken over.
        self._with("install", values, release, str(CHART), "--take-ownership", *options)

    def upgrade(self, values: dict[str, Any], *options: str) -> None:
        self._with("upgrade", values, RELEASE, str(CHART), *options)

    def test(self, timeout: str = "90s") -> str:
        return self._run("test", RELEASE, "--timeout", timeout)

    def refused_test(self) -> None:
        """A `helm test` that fails; some versions find that out when its time is over."""
        with pytest.raises(AssertionError, match=f"helm test {RELEASE}"):
            self.test("30s")

    def uninstall(self) -> None:
        self._run("uninstall", RELEASE, "--wait", "--timeout", "90s")

    def _with(self, command: str, values: dict[str, Any], *arguments: str) -> None:
        self._run(command, *arguments, "--values", "-", stdin=json.dumps(values))

    def _run(self, *arguments: str, stdin: str | None = None) -> str:
        done = subprocess.run(
            [self._program, "--namespace", self._namespace, *arguments],
            input=stdin,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"helm {' '.join(arguments)}: {done.stdout}{done.stderr}"
        return done.stdout
