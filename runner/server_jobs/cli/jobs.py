"""``enqueue``, ``list`` and ``show``: job records."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Annotated

import typer

from server_jobs.cli.database import existing_database, jobs_database, opened_store
from server_jobs.cli.loading import load_registry
from server_jobs.cli.options import AppOption, DatabaseOption, JsonOption
from server_jobs.cli.output import print_json, record_document, remark
from server_jobs.cli.records import print_record, print_records
from server_jobs.errors import InvalidParamsError, JobNotFoundError
from server_jobs.job import Job
from server_jobs.records import JobFilter, JobRecord
from server_jobs.schema import JobStatus
from server_jobs.store import Store


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


def list_jobs(
    database: DatabaseOption = None,
    *,
    status: Annotated[
        JobStatus | None, typer.Option("--status", case_sensitive=False, help="Only these.")
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="Only jobs of this name.")] = None,
    queue: Annotated[str | None, typer.Option("--queue", help="Only jobs of this queue.")] = None,
    correlation_id: Annotated[
        str | None, typer.Option("--correlation-id", help="Only jobs with this one.")
    ] = None,
    limit: Annotated[
        int, typer.Option("--limit", min=1, max=10_000, help="How many at most.")
    ] = 50,
    before: Annotated[
        str | None,
        typer.Option(
            "--before", metavar="ID", help="Only older ones: the last id of the page before."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List jobs, the newest first, times in UTC.

    server-jobs list --status failed --limit 10
    server-jobs list --name SendEmail --json | jq '.[].error'
    """

    async def run() -> list[JobRecord]:
        async with opened_store(existing_database(database)) as store:
            return await store.list_jobs(
                JobFilter(
                    statuses=(status,) if status else (),
                    job_names=(name,) if name is not None else (),
                    queues=(queue,) if queue is not None else (),
                    correlation_id=correlation_id,
                ),
                before_id=before,
                limit=limit,
            )

    records = asyncio.run(run())
    if as_json:
        print_json([record_document(record) for record in records])
        return
    if records:
        print_records(records)
    else:
        remark("no jobs")
    if len(records) == limit:
        remark(f"there may be more: --before {records[-1].id}")


def show(
    job_id: Annotated[
        str,
        typer.Argument(metavar="ID", help="A job's id, or enough of its beginning."),
    ],
    database: DatabaseOption = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Show one job: params, result, progress, who holds it, and what went wrong.

    Secrets (pydantic's SecretStr and its like) are shown as asterisks.

    server-jobs show 0197a3c2
    server-jobs show 0197a3c2 --json
    """

    async def run() -> JobRecord:
        async with opened_store(existing_database(database)) as store:
            return await the_job(store, job_id)

    record = asyncio.run(run())
    if as_json:
        print_json(record_document(record))
    else:
        print_record(record)


async def the_job(store: Store, prefix: str) -> JobRecord:
    """The one record whose id begins so. Raises JobNotFoundError for none and for several."""
    prefix = prefix.strip().lower()
    if not prefix:
        raise JobNotFoundError("an id is needed: `server-jobs list` shows them")
    found = await store.by_prefix(prefix, limit=4)
    if not found:
        raise JobNotFoundError(f"there is no job whose id is or begins with {prefix}")
    if len(found) > 1 and found[0].id != prefix:
        some = ", ".join(record.id for record in found[:3])
        raise JobNotFoundError(
            f"several ids begin with {prefix}, give more of it: {some}"
            + (", …" if len(found) > 3 else "")
        )
    return found[0]
