"""Service accounts, and what they may do."""

import json
from collections.abc import Iterable
from typing import Any

from tests.e2e.support.kubectl import Kubectl


def kubeconfig_of(namespace: Kubectl, account: str) -> dict[str, Any]:
    """The kubeconfig of a service account."""
    config = json.loads(namespace.run("config", "view", "--raw", "--minify", "-o", "json"))
    token = namespace.run("create", "token", account).strip()
    config["users"][0]["user"] = {"token": token}
    found: dict[str, Any] = config
    return found


def role(name: str, jobs: Iterable[str]) -> dict[str, Any]:
    """All that an operator needs in its namespace; of Jobs, these verbs."""
    ours = "server-jobs.dev"
    resources = ["jobrunners", "jobschedules"]
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {"name": name},
        "rules": [
            _rule(ours, resources, ["get", "list", "watch"]),
            _rule(ours, [f"{one}/status" for one in resources], ["patch"]),
            _rule("batch", ["jobs"], jobs),
            _rule("", ["pods"], ["list", "watch"]),
            _rule("", ["events"], ["create"]),
            _rule("coordination.k8s.io", ["leases"], ["get", "create", "update"]),
        ],
    }


def _rule(group: str, resources: list[str], verbs: Iterable[str]) -> dict[str, Any]:
    return {"apiGroups": [group], "resources": resources, "verbs": list(verbs)}
