"""``enqueue``: new jobs."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Annotated

import typer

from server_jobs.cli.database import jobs_database, opened_store
from server_jobs.cli.loading import load_registry
from server_jobs.cli.options import AppOption, DatabaseOption
from server_jobs.errors import InvalidParamsError
from server_jobs.job import Job


def enqueue(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The job's name.")],
    app: AppOption = None,
    database: DatabaseOption = None,
    *,
    params_json: Annotated[
        str,
        typer.Option(
            "--params-json", metavar="JSON", help="The params; - reads them from standard input."
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
        float | None,
        typer.Option("--delay", metavar="SECONDS", help="How long from now it becomes due."),
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

    server-jobs enqueue SendEmail --params-json '{"to": "ada@example.com"}'
    server-jobs enqueue Report --delay 3600 --unique-key nightly
    curl -s https://example.com/order.json | server-jobs enqueue Order --params-json -
    """
    job = load_registry(app).get(name)
    text = sys.stdin.read() if params_json == "-" else params_json
    params = _params(job, text)

    async def run() -> str:
        async with opened_store(jobs_database(database, job)):
            return await job.later(
                params,
                queue=queue,
                priority=priority,
                delay=delay,
                unique_key=unique_key,
                correlation_id=correlation_id,
                max_attempts=max_attempts,
            )

    typer.echo(asyncio.run(run()))


def _params(job: Job[object, object], text: str) -> object:
    try:
        json.loads(text)
    except ValueError as error:
        raise InvalidParamsError(f"{job.name}: --params-json isn't JSON: {error}") from None
    return job.definition.params.load(text)
