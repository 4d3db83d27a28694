"""``demo``: runs real jobs to watch."""

from __future__ import annotations

from typing import Annotated

import typer


def demo(
    *,
    files: Annotated[
        int | None,
        typer.Option(
            "--files",
            metavar="N",
            min=1,
            help="How many of the modules to read. By default, all of them.",
        ),
    ] = None,
    # Not from the environment: the demo mustn't run in an app's database by mistake.
    database: Annotated[
        str | None,
        typer.Option(
            "--database",
            metavar="URL",
            show_default="a new SQLite file",
            help="The database to run in.",
        ),
    ] = None,
    keep: Annotated[
        bool,
        typer.Option("--keep", help="Keep the database, so that you can look at it afterwards."),
    ] = False,
) -> None:
    """Run real jobs and watch them: one per module of Python's standard library.

    One job fails twice and then succeeds, one is delayed, and one loses its
    worker half-way, so that another worker rescues it.

    server-jobs demo
    server-jobs demo --files 200 --keep
    """
    from server_jobs.demo import run_demo

    raise typer.Exit(run_demo(files=files, database=database, keep=keep, interactive=None))
