"""The cluster, as somebody with kubectl sees it."""

import contextlib
import json
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

PATIENCE_SECONDS = 90.0


class Kubectl:
    """Commands within one namespace."""

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace

    def run(self, *arguments: str, stdin: str | None = None) -> str:
        """What it prints; AssertionError with what it complains of."""
        done = subprocess.run(
            ["kubectl", "--namespace", self.namespace, *arguments],
            input=stdin,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stderr}"
        return done.stdout

    def refused(self, manifest: dict[str, Any]) -> str:
        """Why the API server doesn't take it."""
        done = subprocess.run(
            ["kubectl", "--namespace", self.namespace, "apply", "-f", "-"],
            input=json.dumps(manifest),
            capture_output=True,
            text=True,
        )
        assert done.returncode != 0, done.stdout
        return done.stderr

    def apply(self, manifest: dict[str, Any]) -> None:
        self.run("apply", "-f", "-", stdin=json.dumps(manifest))

    def get(self, kind: str, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.run("get", kind, name, "-o", "json"))
        return found

    def all(self, kind: str, selector: str = "") -> list[dict[str, Any]]:
        options = ["-l", selector] if selector else []
        found = json.loads(self.run("get", kind, "-o", "json", *options))
        items: list[dict[str, Any]] = found["items"]
        return items

    def condition(self, kind: str, name: str, of: str) -> dict[str, str]:
        """A condition of an object; empty while there is none."""
        conditions = self.get(kind, name).get("status", {}).get("conditions", [])
        return next((one for one in conditions if one["type"] == of), {})

    def events(self, kind: str, name: str) -> dict[str, str]:
        """What `kubectl describe` tells of an object: the last message of each reason."""
        about = f"involvedObject.kind={kind},involvedObject.name={name}"
        found = json.loads(self.run("get", "events", "--field-selector", about, "-o", "json"))
        return {one["reason"]: one["message"] for one in found["items"]}

    @contextlib.contextmanager
    def following(self, pod: str) -> Iterator[Callable[[], str]]:
        """What a pod says from its beginning on, also once it is gone."""
        command = ["kubectl", "--namespace", self.namespace, "logs", "--follow", pod]
        with tempfile.TemporaryFile() as log:
            process = subprocess.Popen(command, stdout=log, stderr=log)

            def said() -> str:
                log.seek(0)
                return log.read().decode()

            try:
                yield said
            finally:
                process.kill()
                process.wait()

    def wait_for_account(self) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not any(one["metadata"]["name"] == "default" for one in self.all("serviceaccount")):
            assert time.monotonic() < deadline, "the namespace never got its default account"
            time.sleep(0.1)

    @contextlib.contextmanager
    def temporary_namespace(self) -> Iterator["Kubectl"]:
        name = f"e2e-{uuid4().hex[:8]}"
        self.run("create", "namespace", name)
        try:
            yield Kubectl(name)
        finally:
            self.run("delete", "namespace", name, "--wait=false")
