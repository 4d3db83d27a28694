"""``doctor``: checks the database and the workers, and says what to do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Annotated, Any

import typer
from rich.text import Text

from server_jobs.cli.app_loader import load_registry
from server_jobs.cli.database import existing_database, lasting_file
from server_jobs.cli.doctor import checks, server_checks
from server_jobs.cli.doctor.checks import Finding, Level, Patient
from server_jobs.cli.failures import FAILED
from server_jobs.cli.options import DatabaseOption, JsonOption, KnownAppOption
from server_jobs.cli.output import plain, print_json, print_lines, terminal_width
from server_jobs.cli.streams import spelled
from server_jobs.cli.tables import labelled_lines
from server_jobs.database import DEFAULT_DATABASE_URL, backend_of
from server_jobs.errors import DatabaseError, InvalidAppError, MigrationRequiredError
from server_jobs.masks import mask_passwords

_LONGEST = 2_000

_STYLES = {Level.OK: "green", Level.WARN: "yellow", Level.FAIL: "bold red"}


def doctor(
    database: DatabaseOption = None,
    app: KnownAppOption = None,
    *,
    quick_check: Annotated[
        bool,
        typer.Option("--quick-check", help="Let SQLite read its whole file and look for damage."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Check that all is well, and say what to do if something isn't.

    server-jobs doctor
    server-jobs doctor --app myapp.jobs:registry --json | jq '.[] | select(.level != "ok")'

    The exit status is 0 if all is well, and 1 if something needs attention.
    It changes nothing. On PostgreSQL it wakes the workers once, to check that
    they can be woken.
    """
    findings = asyncio.run(_examine(database, app, quick_check=quick_check))
    if as_json:
        print_json([_document(finding) for finding in findings])
    else:
        rows = (row for finding in findings for row in _rows(finding))
        print_lines(labelled_lines(rows, terminal_width(), gap=2))
    if any(finding.level is not Level.OK for finding in findings):
        raise typer.Exit(FAILED)


async def _examine(url: str | None, app: str | None, *, quick_check: bool) -> list[Finding]:
    app_finding, known = _load(app)
    findings = [app_finding]
    try:
        database = existing_database(url)
    except MigrationRequiredError as error:
        return [*findings, Finding("database", Level.FAIL, str(error))]
    try:
        async for finding in _all(Patient(database, known, quick_check), url):
            findings.append(finding)
    except DatabaseError as error:
        findings.append(
            Finding("database", Level.FAIL, str(error), "run doctor again once it is back")
        )
    finally:
        await database.close()
    return findings


def _load(app: str | None) -> tuple[Finding, frozenset[str] | None]:
    if not app:
        return Finding("app", Level.OK, "not checked: --app says where it is"), None
    try:
        names = frozenset(load_registry(app).get_names())
    except InvalidAppError as error:
        return Finding(
            "app", Level.FAIL, str(error), "`server-jobs --debug worker --app …` shows where"
        ), None
    return Finding("app", Level.OK, f"{app} has {len(names)} job" + "s" * (len(names) != 1)), names


async def _all(patient: Patient, url: str | None) -> AsyncIterator[Finding]:
    """Run the checks in turn. After a failure, skip the checks that can't work any more."""
    in_turn: Sequence[checks.Check] = (
        checks.reachable,
        _of_its_kind(url or DEFAULT_DATABASE_URL),
        checks.schema,
        checks.workers,
        checks.leases,
        checks.due,
        checks.app_names,
    )
    for check in in_turn:
        async for finding in check(patient):
            yield finding
            if finding.level is Level.FAIL and finding.check in {"database", "schema"}:
                return


def _of_its_kind(url: str) -> checks.Check:
    if backend_of(url) == "libsql":
        return server_checks.libsql
    file = lasting_file(url)
    if file is None:
        return server_checks.postgres
    return lambda patient: server_checks.sqlite(patient, file)


def _document(finding: Finding) -> dict[str, Any]:
    return {
        "check": finding.check,
        "level": finding.level.value,
        "text": _one_line(finding.text),
        "advice": finding.advice or None,
    }


def _rows(finding: Finding) -> Iterator[tuple[Text, Text, Text]]:
    level = Text(f"{finding.level.upper():<4}", _STYLES[finding.level])
    yield level, Text(f"{finding.check:<11}", "dim"), plain(_bounded(finding.text))
    if finding.advice:
        yield Text(), Text(), Text.assemble(spelled("→ "), plain(_bounded(finding.advice)))


def _bounded(text: str) -> str:
    """Return a line to read. Names of megabytes, which other programs wrote, are cut."""
    line = _one_line(text)
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}… ({len(line):,} characters)"


def _one_line(text: str) -> str:
    return " ".join(mask_passwords(text).split())
