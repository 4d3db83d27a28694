"""The images as pods run them, and a job in an image that isn't built on ours."""

import json
import os
from typing import Any

import pytest

from server_jobs.store.store import Store
from tests.e2e.app.jobs import double
from tests.e2e.conftest import job_runner
from tests.e2e.support.kubectl import Kubectl
from tests.e2e.support.operator_process import OperatorProcess
from tests.e2e.support.waiting import over, record_when, until_served

PLAIN_IMAGE = "SERVER_JOBS_E2E_PLAIN_IMAGE"

LOOKING = """
import importlib, importlib.util, json, os, shutil, subprocess, sys

for name in sys.argv[1:]:
    importlib.import_module(name)
cached = {name: getattr(getattr(module, "__spec__", None), "cached", None)
          for name, module in sys.modules.items()}
sizes = [os.lstat(os.path.join(folder, name)).st_size
         for folder, _, names in os.walk(sys.prefix) for name in names]
listed = subprocess.run(["pip", "list"], capture_output=True, text=True).stdout
print(json.dumps({
    "user": os.getuid(),
    "compiled": sum(bool(path) and os.path.exists(path) for path in cached.values()),
    "not compiled": sorted(name for name, path in cached.items()
                           if path and not os.path.exists(path)),
    "pip": importlib.util.find_spec("pip") is not None,
    "pip installs beside us": "server-jobs" in listed,
    "gcc": shutil.which("gcc") or shutil.which("cc"),
    "megabytes": round(sum(sizes) / 1_000_000),
}))
"""


@pytest.fixture
def plain_image() -> str:
    return os.environ.get(PLAIN_IMAGE, "localhost/server-jobs-plain:test")


def looked_into(namespace: Kubectl, image: str, *modules: str) -> dict[str, Any]:
    """What a restricted pod of the image finds once it has imported these modules."""
    container = {
        "name": "look",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python", "-c", LOOKING, *modules],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    pod = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    namespace.apply(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "look"},
            "spec": {
                "restartPolicy": "Never",
                "securityContext": pod,
                "automountServiceAccountToken": False,
                "containers": [container],
            },
        }
    )
    ended = ("--for=jsonpath={.status.phase}=Succeeded", "--timeout=60s")
    namespace.run("wait", "pod/look", *ended)
    found: dict[str, Any] = json.loads(namespace.run("logs", "look"))
    return found


def test_the_runners_image_compiles_nothing_and_has_nothing_to_compile_with(
    namespace: Kubectl, image: str
) -> None:
    found = looked_into(namespace, image, "server_jobs.cli.commands.run", "psycopg", "jobs")

    assert found["not compiled"] == []
    assert found["compiled"] > 300
    assert found["user"] == 65532
    assert (found["pip"], found["gcc"]) == (False, None)
    assert found["megabytes"] < 80
    # The base image's pip, for whoever builds on this one.
    assert found["pip installs beside us"]


def test_the_operators_image_compiles_nothing_and_has_nothing_to_compile_with(
    namespace: Kubectl, operator_image: str
) -> None:
    found = looked_into(namespace, operator_image, "server_jobs_operator.cli", "server_jobs.cli")

    assert found["not compiled"] == []
    assert found["compiled"] > 600
    assert found["user"] == 65532
    assert (found["pip"], found["gcc"]) == (False, None)
    # Half of it is the client of Kubernetes.
    assert found["megabytes"] < 260


async def test_a_job_runs_in_an_image_of_ones_own(
    operator: OperatorProcess, namespace: Kubectl, store: Store, plain_image: str
) -> None:
    namespace.apply(job_runner(plain_image))
    await until_served(namespace)

    record = await record_when(store, await double.later({"n": 21}), over)

    assert record.result == "42"
    pod = namespace.get("job", f"job-{record.id}-1")["spec"]["template"]["spec"]
    assert [container["image"] for container in pod["containers"]] == [plain_image]


def test_an_image_of_ones_own_can_be_compiled_just_as_well(
    namespace: Kubectl, plain_image: str
) -> None:
    found = looked_into(namespace, plain_image, "server_jobs.cli.commands.run", "psycopg", "jobs")

    assert found["not compiled"] == []
    assert found["user"] == 65532
