"""``enqueue``: new jobs."""

from __future__ import annotations

import asyncio
import sys
from typing import Annotated

import typer

from server_jobs.cli.app_loader import load_registry
from server_jobs.cli.database import jobs_database, opened_store
from server_jobs.cli.durations import seconds_of
from server_jobs.cli.options import AppOption, DatabaseOption
from server_jobs.cli.params import build_params


def enqueue(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The job's name.")],
    app: AppOption = None,
    database: DatabaseOption = None,
    *,
    param: Annotated[
        list[str] | None,
        typer.Option(
            "--param",
            metavar="NAME=VALUE",
            help="One of the params, as text that its type reads; NAME:=JSON is JSON. Dots lead"
            " into nested ones. May be repeated; the same name again makes a list.",
        ),
    ] = None,
    params_json: Annotated[
        str,
        typer.Option(
            "--params-json",
            metavar="JSON",
            help="All params; - reads them from standard input. Each --param goes before it.",
        ),
    ] = "{}",
    queue: Annotated[
        str | None, typer.Option("--queue", show_default="the job's own", help="Which queue.")
    ] = None,
    priority: Annotated[
        int | None,
        typer.Option("--priority", show_default="the job's own", help="Higher goes first."),
    ] = None,
    delay: Annotated[
        str | None,
        typer.Option(
            "--delay",
            metavar="DURATION",
            help="How long from now it becomes due: 90s, 15m, 2h, 7d, 1h30m.",
        ),
    ] = None,
    unique_key: Annotated[
        str | None,
        typer.Option(
            "--unique-key",
            help="While a job of this name with this key is pending or running, enqueue nothing"
            " and print its id.",
        ),
    ] = None,
    correlation_id: Annotated[
        str | None, typer.Option("--correlation-id", help="Something to find related jobs by.")
    ] = None,
    max_attempts: Annotated[
        int | None,
        typer.Option(
            "--max-attempts", show_default="the job's own", help="The first one counts too."
        ),
    ] = None,
) -> None:
    """Enqueue a job, its params checked against its schema, and print its id.

    server-jobs enqueue SendEmail --param to=ada@example.com --param urgent=yes
    server-jobs enqueue Report --param year=2026 --delay 1h30m --unique-key nightly
    server-jobs enqueue Order --param items=tea --param items=jam --param address.city=Lviv
    server-jobs enqueue Order --param 'items:=["tea"]' --param note:=null
    curl -s https://example.com/order.json | server-jobs enqueue Order --params-json -

    Other programs can see a command's arguments, and shells keep them: give
    secrets by --params-json - on standard input.
    """
    job = load_registry(app).get(name)
    seconds = None if delay is None else seconds_of(delay, "--delay")
    text = sys.stdin.read() if params_json == "-" else params_json
    params = build_params(job, text, param or ())

    async def run() -> str:
        async with opened_store(jobs_database(database, job)):
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
