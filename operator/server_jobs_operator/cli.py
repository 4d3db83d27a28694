"""``server-jobs-operator``: run it, or write its custom resources' definitions."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from pathlib import Path
from typing import Annotated, Any

import typer

from server_jobs.cli.flags import takes_settings
from server_jobs.cli.groups import ReportingGroup
from server_jobs.cli.logs import LogFormat, LogLevel, configure_logging
from server_jobs.cli.options import LogFormatOption, LogLevelOption
from server_jobs.database import DATABASE_URL_VARIABLE, connect, url_from_environment
from server_jobs.errors import ConfigurationError, DatabaseNotConfiguredError
from server_jobs.records.ids import random_suffix
from server_jobs_operator.cluster.kube import Kube, KubeError, connected
from server_jobs_operator.cluster.names import config_map_path, pods_path
from server_jobs_operator.operator import Operator
from server_jobs_operator.options import READY_SETTINGS, SETTINGS, SelectorOption
from server_jobs_operator.resources import crds as definitions
from server_jobs_operator.settings import OperatorSettings
from server_jobs_operator.telemetry.health import Health, served
from server_jobs_operator.telemetry.metrics import Metrics
from server_jobs_operator.telemetry.readiness import OPERATOR_PODS, problems_of

_OWN_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_TOLD_TO_PODS = ("SERVER_JOBS_SCHEMA", "SERVER_JOBS_TABLE_PREFIX")

app = typer.Typer(
    cls=ReportingGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="The Kubernetes backend of server-jobs: one Kubernetes Job per claimed record.",
)


@app.command()
@takes_settings(SETTINGS)
def run(
    *,
    settings: dict[str, Any],
    log_format: LogFormatOption = LogFormat.AUTO,
    log_level: LogLevelOption = LogLevel.INFO,
) -> None:
    """Watch the jobs table and launch a Kubernetes Job for each claimed record.

    The database comes from SERVER_JOBS_DATABASE_URL alone, because anyone who
    can list processes can read their arguments. The cluster is that of the pod
    that the operator runs in, else that of the kubeconfig.
    """
    configure_logging(log_format, log_level)
    own = settings.pop("own_namespace") or _own_namespace()
    whole_cluster, some = settings.pop("all_namespaces"), settings.pop("namespaces")
    ports = {name: settings.pop(name) for name in ("health_port", "metrics_port")}
    install_id = settings.pop("install_id")
    config_map = settings["config_map"]
    told = {name: os.environ[name] for name in _TOLD_TO_PODS if os.environ.get(name)}

    def with_id(found_id: str) -> OperatorSettings:
        return OperatorSettings(
            install_id=found_id,
            own_namespace=own,
            namespaces=None if whole_cluster else some or (own,),
            identity=f"{socket.gethostname()}/{random_suffix()}",
            config_map_uid=None if install_id else found_id,
            environment=told,
            **settings,
        )

    # Wrong settings are refused before the cluster is asked for anything, the id included.
    served_namespaces = with_id(install_id or "unknown").namespaces or (None,)

    async def operate() -> None:
        url = url_from_environment()
        if not url:
            raise DatabaseNotConfiguredError(
                f"{DATABASE_URL_VARIABLE} is not set: the chart takes it from the Secret that"
                " database.existingSecret names"
            )
        metrics, health = Metrics(), Health()
        database = connect(url)
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        try:
            async with (
                served(health, metrics, **ports),
                connected(metrics.api_error, watches=2 * len(served_namespaces)) as kube,
            ):
                found_id = install_id or await _install_id(kube, own, config_map, stop, health)
                if found_id is not None:
                    operator = Operator(kube, database, with_id(found_id), metrics, health)
                    await operator.run(stop)
        finally:
            await database.close()

    asyncio.run(operate())


@app.command()
@takes_settings(READY_SETTINGS)
def ready(*, settings: dict[str, Any], selector: SelectorOption = OPERATOR_PODS) -> None:
    """Ask the pods of an operator whether they are ready, and print what is wrong.

    The exit status is 0 if all of them are ready, else 1. Run it within the
    cluster, because it connects to the pods' addresses. `helm test` does so.
    """

    async def ask() -> list[str]:
        async with connected(lambda verb, status: None) as kube:
            pods, _ = await kube.list(
                pods_path(settings["own_namespace"] or _own_namespace()), selector
            )
        return await problems_of(pods, settings["health_port"])

    try:
        problems = asyncio.run(ask())
    except KubeError as error:
        problems = [str(error)]
    for problem in problems:
        typer.echo(problem, err=True)
    if problems:
        raise typer.Exit(1)
    typer.echo("the operator is ready")


@app.command()
def crds(
    out: Annotated[
        Path | None, typer.Option("--out", help="Write a file each into this folder.")
    ] = None,
) -> None:
    """Print the definitions of JobRunner and JobSchedule, or write them into a folder."""
    if out is not None:
        definitions.write(out)
        return
    typer.echo("---\n".join(definitions.files().values()), nl=False)


async def _install_id(
    kube: Kube, namespace: str, config_map: str | None, stop: asyncio.Event, health: Health
) -> str | None:
    if config_map is None:
        raise ConfigurationError(
            "which installation is this? Give --install-id, a text that no other installation on"
            " this database has, or --config-map, whose uid is then used"
        )
    while not stop.is_set():
        try:
            found = await kube.get(config_map_path(namespace, config_map))
            return str(found["metadata"]["uid"])
        except KubeError as error:
            if error.not_found:
                raise ConfigurationError(
                    f"there is no ConfigMap {config_map} in namespace {namespace}"
                ) from None
            health.fails("Kubernetes API", str(error))
        await asyncio.sleep(2.0)
    return None


def _own_namespace() -> str:
    return _OWN_NAMESPACE.read_text().strip() if _OWN_NAMESPACE.exists() else "default"
