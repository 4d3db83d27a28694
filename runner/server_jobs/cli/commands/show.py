"""``show``: shows all that is known about one job."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Annotated

import typer

from server_jobs.cli.database import existing_database, opened_store
from server_jobs.cli.documents import record_document
from server_jobs.cli.lookup import the_job
from server_jobs.cli.options import DatabaseOption, JsonOption
from server_jobs.cli.output import print_json
from server_jobs.cli.records import lease_document, print_record
from server_jobs.records.rows import JobRecord


def show(
    job_id: Annotated[
        str,
        typer.Argument(metavar="ID", help="The job's id, or enough of its beginning."),
    ],
    database: DatabaseOption = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Show one job: params, result, progress, who holds it, and what went wrong.

    Ids that were made within a minute share their first eight characters. The
    first thirteen are usually enough to tell one job. Secrets (pydantic's
    SecretStr and similar types) are shown as asterisks. The database's clock
    decides whether a lease has expired.

    server-jobs show 0197a3c2-5b1e-7f04
    server-jobs show 0197a3c2-5b1e-7f04-9c3d-2a6b8e1f4d70 --json | jq .errors
    """

    async def run() -> tuple[JobRecord, datetime]:
        async with opened_store(existing_database(database)) as store:
            return await the_job(store, job_id), await store.clock()

    record, now = asyncio.run(run())
    if as_json:
        print_json(record_document(record) | lease_document(record, now))
    else:
        print_record(record, now)
