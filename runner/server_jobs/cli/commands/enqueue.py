"""``enqueue``: enqueues a job."""

from __future__ import annotations

import asyncio
import shlex
from typing import Annotated

import typer

from server_jobs.cli import options
from server_jobs.cli.app_loader import load_registry
from server_jobs.cli.database import job_database, opened_store
from server_jobs.cli.durations import seconds_of
from server_jobs.cli.failures import unless_unanswered
from server_jobs.cli.params import build_params


def enqueue(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The job's name.")],
    app: options.AppOption = None,
    database: options.AppsDatabaseOption = None,
    *,
    param: options.ParamOption = None,
    params_json: options.ParamsJsonOption = "{}",
    queue: options.OwnQueueOption = None,
    priority: options.PriorityOption = None,
    delay: Annotated[
        str | None,
        typer.Option(
            "--delay",
            metavar="DURATION",
            help="How long from now the job becomes due: 90s, 15m, 2h, 7d, 1h30m.",
        ),
    ] = None,
    unique_key: Annotated[
        str | None,
        typer.Option(
            "--unique-key",
            help="While a job of this name with this key is pending or running, enqueue nothing"
            " and print that job's id.",
        ),
    ] = None,
    correlation_id: Annotated[
        str | None, typer.Option("--correlation-id", help="A text by which related jobs are found.")
    ] = None,
    max_attempts: options.MaxAttemptsOption = None,
) -> None:
    """Enqueue a job, after checking its params, and print its id.

    server-jobs enqueue SendEmail --param to=ada@example.com --param urgent=yes
    server-jobs enqueue Report --param year=2026 --delay 1h30m --unique-key nightly
    server-jobs enqueue Order --param items=tea --param items=jam --param address.city=Lviv
    server-jobs enqueue Order --param 'items:=["tea"]' --param note:=null
    curl -s https://example.com/order.json | server-jobs enqueue Order --params-json -

    Other programs can see a command's arguments, and shells keep them. Give
    secrets on standard input, with --params-json -.
    """
    job = load_registry(app).get(name)
    seconds = None if delay is None else seconds_of(delay, "--delay")
    params = build_params(job, params_json, param or ())

    async def run() -> str:
        async with opened_store(job_database(database, job)):
            with unless_unanswered(
                "The job may have been enqueued all the same. Before you enqueue it again, look:"
                f" server-jobs list --name {shlex.quote(name)} --newer-than 5m"
            ):
                return await job.later(
                    params,
                    queue=queue,
                    priority=priority,
                    delay=seconds,
                    unique_key=unique_key,
                    correlation_id=correlation_id,
                    max_attempts=max_attempts,
                )

    typer.echo(asyncio.run(run()))
