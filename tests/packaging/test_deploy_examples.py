"""`examples/deploy/`: what starts workers is valid, and gives them the time that they need to end.

systemd and Docker aren't run. The unit's own command is, and is stopped as the unit says.
"""

import configparser
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sysconfig
import time
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from compose_spec import PyCompose
from kubernetes.client import ApiClient

from server_jobs.cli.app import app
from server_jobs.cli.durations import seconds_of
from server_jobs.cli.process_end import SPARE_SECONDS
from server_jobs.worker import LAST_MOMENT_SECONDS
from tests.support.pages.markdown import ROOT

FOLDER = ROOT / "examples" / "deploy"
UNIT = FOLDER / "myapp-worker.service"
PROGRAM = "/opt/myapp/.venv/bin/server-jobs"
SERVER_JOBS = Path(sysconfig.get_path("scripts")) / "server-jobs"
COMPOSE = (FOLDER / "compose.yaml").read_text(encoding="utf-8")
SERVICES = yaml.safe_load(COMPOSE)["services"]
DEPLOYMENT = yaml.safe_load((FOLDER / "deployment.yaml").read_text(encoding="utf-8"))
POD = DEPLOYMENT["spec"]["template"]["spec"]
GROUP: Any = typer.main.get_command(app)


def unit() -> dict[str, list[str]]:
    """The settings of the section Service; those that are given twice have two values."""
    found: dict[str, list[str]] = {}
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    parser.read(UNIT)
    assert parser.sections() == ["Unit", "Service", "Install"]
    service = UNIT.read_text("utf-8").partition("[Service]")[2].partition("[Install]")[0]
    for line in service.splitlines():
        if line and not line.startswith("#"):
            name, _, value = line.partition("=")
            found.setdefault(name, []).append(value)
    return found


def parsed(words: list[str]) -> dict[str, Any]:
    """The options that the real command line reads; it refuses what it doesn't know."""
    with GROUP.make_context("server-jobs", words[:1]) as above:
        command = GROUP.get_command(above, words[0])
    with command.make_context(words[0], words[1:]) as context:
        options: dict[str, Any] = context.params
    return options


def seconds_to_stop(words: list[str]) -> float:
    """How long the worker that is started so may take to end."""
    grace = seconds_of(parsed(words)["grace"], "--grace")
    return grace + LAST_MOMENT_SECONDS + SPARE_SECONDS


# ── systemd ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.may_skip_in_ci(reason="systemd-analyze is there where systemd is")
def test_systemd_finds_no_fault_in_the_unit(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("there is no systemd-analyze here")
    # It wants programs and users that are there.
    here = UNIT.read_text("utf-8").replace(PROGRAM, str(SERVER_JOBS)).replace("=myapp\n", "=root\n")
    (tmp_path / UNIT.name).write_text(here.replace("=man:systemd.service(5)", "=file:/dev/null"))

    said = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(tmp_path / UNIT.name)],
        capture_output=True,
        text=True,
    )

    about_it = [line for line in said.stderr.splitlines() if UNIT.name in line]
    assert (said.returncode, about_it) == (0, [])


def test_the_units_worker_runs_jobs_and_stops_in_the_time_that_it_has(tmp_path: Path) -> None:
    service = unit()
    environment = {
        **os.environ,
        **dict(line.split("=", 1) for line in service["Environment"]),
        # Its StateDirectory is systemd's to make.
        "SERVER_JOBS_DATABASE_URL": f"sqlite:///{tmp_path}/jobs.db",
    }

    def command(line: str) -> list[str]:
        program, *words = shlex.split(line)
        assert program == PROGRAM
        return [str(SERVER_JOBS), *words]

    def run(words: list[str]) -> str:
        done = subprocess.run(
            words, cwd=FOLDER, env=environment, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    run(command(service["ExecStartPre"][0]))
    job_id = run([str(SERVER_JOBS), "enqueue", "SayHello", "--param", "name=Ada"])
    with subprocess.Popen(command(service["ExecStart"][0]), cwd=FOLDER, env=environment) as worker:
        try:
            assert "completed" in run([str(SERVER_JOBS), "watch", job_id])
            worker.send_signal(signal.Signals[service["KillSignal"][0]])
            asked = time.monotonic()
            status = worker.wait(timeout=float(service["TimeoutStopSec"][0]))
        finally:
            worker.kill()

    assert status == 0
    # Nothing runs in it, so that it needn't wait for its grace period either.
    assert time.monotonic() - asked < seconds_to_stop(shlex.split(service["ExecStart"][0])[1:])


def test_the_unit_leaves_the_worker_its_time() -> None:
    service = unit()
    words = shlex.split(service["ExecStart"][0])[1:]

    assert float(service["TimeoutStopSec"][0]) > seconds_to_stop(words)
    # Handlers' own programs get no signal before the worker has ended.
    assert service["KillMode"] == ["mixed"]
    assert service["KillSignal"] == ["SIGTERM"]


# ── Compose ──────────────────────────────────────────────────────────────────────────────────


def test_the_compose_file_is_one() -> None:
    # The parser of the specification knows no merge keys; whatever reads YAML has applied them.
    compose = PyCompose.from_yaml(yaml.safe_dump(yaml.safe_load(COMPOSE)))

    assert set(compose.service_names()) == set(SERVICES)


def test_a_file_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="stop_grace"):
        PyCompose.from_yaml("services: {worker: {image: myapp, stop_grace: 45s}}")


def test_the_compose_files_commands_are_understood() -> None:
    assert parsed(SERVICES["migrate"]["command"])["wait"] == "2m"
    worker = SERVICES["worker"]

    assert float(worker["stop_grace_period"].removesuffix("s")) > seconds_to_stop(worker["command"])
    assert worker["depends_on"] == {"migrate": {"condition": "service_completed_successfully"}}


# ── Kubernetes ───────────────────────────────────────────────────────────────────────────────


def test_the_deployment_has_no_field_that_kubernetes_does_not_know() -> None:
    client = ApiClient()
    known = client.deserialize(json.dumps(DEPLOYMENT), "V1Deployment", "application/json")

    again = client.sanitize_for_serialization(known)  # type: ignore[no-untyped-call]
    assert again == DEPLOYMENT


def test_the_deployments_commands_are_understood_and_its_pods_have_their_time() -> None:
    (migrate,), (worker,) = POD["initContainers"], POD["containers"]

    assert parsed(migrate["args"])["wait"] == "2m"
    assert POD["terminationGracePeriodSeconds"] > seconds_to_stop(worker["args"])


def test_the_deployments_pods_are_as_the_strictest_standard_wants_them() -> None:
    assert POD["securityContext"]["runAsNonRoot"] is True
    assert POD["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in [*POD["initContainers"], *POD["containers"]]:
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    selector = DEPLOYMENT["spec"]["selector"]["matchLabels"]
    assert DEPLOYMENT["spec"]["template"]["metadata"]["labels"] == selector


# ── Images ───────────────────────────────────────────────────────────────────────────────────


def test_the_runners_image_can_run_workers_and_migrate() -> None:
    dockerfile = (ROOT / "runner" / "Dockerfile").read_text(encoding="utf-8")

    (extras,) = re.findall(r"'\.\[([a-z,]+)\]'", dockerfile)
    assert "cli" in extras.split(",")
    assert 'ENTRYPOINT ["server-jobs"]' in dockerfile


def test_the_applications_image_names_the_registry_that_is_there() -> None:
    dockerfile = (FOLDER / "Dockerfile").read_text(encoding="utf-8")

    assert "SERVER_JOBS_APP=myjobs:registry" in dockerfile
    assert "SERVER_JOBS_APP=myjobs:registry" in unit()["Environment"]
