"""Finds the jobs whose ids a person typed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, TypeAlias
from uuid import UUID

import typer

from server_jobs.errors import JobNotFoundError
from server_jobs.records.rows import JobRecord
from server_jobs.store.store import Store

JobIdsArgument: TypeAlias = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="ID",
        show_default=False,
        help="The ids of jobs, or enough of the beginning of each.",
    ),
]


async def the_job(store: Store, prefix: str) -> JobRecord:
    """Return the one record whose id begins so. Raises JobNotFoundError for none or several."""
    typed = prefix.strip()
    if not typed:
        raise JobNotFoundError("an id is needed: `server-jobs list` shows them")
    # Our ids are lower-case, but a row that was inserted by hand may have any id.
    found = await store.by_prefix(typed, limit=4) or await store.by_prefix(typed.lower(), limit=4)
    if not found:
        raise JobNotFoundError(f"there is no job whose id is or begins with {typed}")
    if len(found) > 1 and found[0].id not in {typed, typed.lower()}:
        some = ", ".join(record.id for record in found[:3])
        raise JobNotFoundError(
            f"several ids begin with {typed}, give more of it: {some}"
            + (", …" if len(found) > 3 else "")
        )
    return found[0]


async def the_ids(store: Store, prefixes: Sequence[str]) -> list[str]:
    """Return the ids that begin so, each once. Raises JobNotFoundError if one isn't found."""
    whole = [text for text in map(str.strip, prefixes) if is_whole_id(text)]
    there = {job.id for job in await store.summaries(whole)} if whole else set()
    ids = [
        text if text in there else (await the_job(store, text)).id
        for text in map(str.strip, prefixes)
    ]
    return list(dict.fromkeys(ids))


def is_whole_id(text: str) -> bool:
    """Return whether the text is a whole id as this library makes them."""
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False
