"""Finds the jobs whose ids a person typed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Annotated, TypeAlias
from uuid import UUID

import typer

from server_jobs.errors import JobNotFoundError
from server_jobs.records.rows import JobRecord
from server_jobs.records.text import unescaped
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
    for typed in _meant(prefix):
        if found := await _begin_with(store, typed):
            break
    else:
        if not prefix.strip():
            raise JobNotFoundError("an id is needed: `server-jobs list` shows them")
        raise JobNotFoundError(f"there is no job whose id is or begins with {prefix.strip()}")
    if len(found) > 1 and found[0].id != typed:
        some = ", ".join(str(record.id) for record in found[:3])
        raise JobNotFoundError(
            f"several ids begin with {prefix.strip()}, give more of it: {some}"
            + (", …" if len(found) > 3 else "")
        )
    return found[0]


async def _begin_with(store: Store, text: str) -> list[JobRecord]:
    # Where all text is UTF-8, no id has what an argument in another encoding becomes.
    with suppress(JobNotFoundError, UnicodeEncodeError):
        return await store.by_prefix(text, limit=4) if text else [await store.get(text)]
    return []


def _meant(typed: str) -> Iterator[str]:
    r"""Yield what may be meant. Our ids are lower-case, but other programs may write any id.

    What a terminal can't show of those is typed as it is shown: ``\x1b``.
    """
    stripped = typed.strip()
    yield from dict.fromkeys((typed, stripped, stripped.lower()))
    if "\\" in stripped:
        yield from unescaped(stripped)


async def the_ids(store: Store, prefixes: Sequence[str]) -> list[str]:
    """Return the ids that begin so, each once. Raises JobNotFoundError if one isn't found."""
    whole = [text for text in prefixes if is_whole_id(text)]
    there = {job.id for job in await store.summaries(whole)} if whole else set()
    ids = [text if text in there else (await the_job(store, text)).id for text in prefixes]
    return list(dict.fromkeys(ids))


def is_whole_id(text: str) -> bool:
    """Return whether the text is a whole id as this library makes them."""
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False
