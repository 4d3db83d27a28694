"""``list``: lists jobs, one line each."""

from __future__ import annotations

import asyncio
import shlex
from typing import Annotated

import typer

from server_jobs.cli.database import existing_database, opened_store
from server_jobs.cli.documents import record_document
from server_jobs.cli.filters import as_arguments, takes_filters
from server_jobs.cli.lookup import is_whole_id, the_job
from server_jobs.cli.options import DatabaseOption, JsonOption
from server_jobs.cli.output import print_json, print_plain, remark
from server_jobs.cli.records import print_records
from server_jobs.masks import mask_passwords
from server_jobs.records.requests import JobFilter
from server_jobs.records.rows import JobRecord


@takes_filters
def list_jobs(
    context: typer.Context,
    wanted: JobFilter,
    database: DatabaseOption = None,
    *,
    limit: Annotated[
        int, typer.Option("--limit", min=1, max=10_000, help="How many jobs to list, at most.")
    ] = 50,
    before: Annotated[
        str | None,
        typer.Option(
            "--before",
            metavar="ID",
            help="Only jobs that are older than this one: the last id of the page before.",
        ),
    ] = None,
    ids: Annotated[bool, typer.Option("--ids", help="Print ids only, one a line.")] = False,
    as_json: JsonOption = False,
) -> None:
    """List jobs, the newest first, with times in UTC.

    server-jobs list --status failed --newer-than 2h
    server-jobs list --name SendEmail --name SendText --queue mail --limit 10
    server-jobs list --correlation-id order-1017 --json | jq '.[].error'
    server-jobs list --ids --status failed | head -n 3 | xargs server-jobs retry
    """
    if ids and as_json:
        raise typer.BadParameter("give either --ids or --json.", param_hint="--ids")

    async def run() -> tuple[list[JobRecord], list[str]]:
        async with opened_store(existing_database(database)) as store:
            before_id = before
            if before_id is not None and not is_whole_id(before_id):
                before_id = (await the_job(store, before_id)).id
            # One job more than is shown tells whether there are more.
            if ids:
                return [], await store.list_ids(wanted, before_id=before_id, limit=limit + 1)
            records = await store.list_jobs(wanted, before_id=before_id, limit=limit + 1)
            return records, [record.id for record in records]

    records, found = asyncio.run(run())
    if ids:
        print_plain(found[:limit])
    elif as_json:
        print_json([record_document(record) for record in records[:limit]])
    elif records:
        print_records(records[:limit])
    else:
        remark("no jobs")
    if len(found) > limit:
        again = ["list", *as_arguments(wanted), "--limit", str(limit), "--before", found[limit - 1]]
        if ids or as_json:
            again.append("--ids" if ids else "--json")
        remark(f"there are more: server-jobs {shlex.join([*again, *_typed(context, database)])}")


def _typed(context: typer.Context, database: str | None) -> list[str]:
    """Return the option for the database, if it was typed and not set in the environment."""
    source = context.get_parameter_source("database")
    if database is None or source is None or source.name != "COMMANDLINE":
        return []
    return ["--database", mask_passwords(database)]
