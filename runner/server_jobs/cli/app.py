"""All commands, put together."""

from __future__ import annotations

from typing import Annotated

import typer

import server_jobs
from server_jobs.cli.commands import (
    demo,
    doctor,
    enqueue,
    list_and_show,
    migrate_and_schema,
    prune,
    retry_and_cancel,
    run,
    stats,
    watch,
    worker,
)
from server_jobs.cli.commands.schedule import group
from server_jobs.cli.failures import EXIT_CODES, ReportingGroup

app = typer.Typer(
    cls=ReportingGroup,
    no_args_is_help=True,
    rich_markup_mode="rich",
    # A traceback of ours would show local variables, and with them what they hold of secrets.
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="[bold]Exit status[/]\n\n"
    + "\n".join(f"{code:>3}  {meaning}" for code, meaning in EXIT_CODES.items()),
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"server-jobs {server_jobs.__version__}")
        raise typer.Exit


@app.callback()
def server_jobs_command(
    *,
    debug: Annotated[
        bool,
        typer.Option(
            "--debug",
            envvar="SERVER_JOBS_DEBUG",
            help="Show the traceback of an error, not only its message.",
        ),
    ] = False,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Background jobs on the SQL database that you already have.

    server-jobs demo                               watch real jobs run
    server-jobs migrate                            make the tables
    server-jobs worker --app myapp.jobs:registry   execute jobs until stopped
    server-jobs enqueue SendEmail --param to=ada@example.com
    server-jobs list --status failed               see what went wrong
    server-jobs show 0197a3c2-5b1e-7f04            and why
    server-jobs doctor                             whether all is well
    server-jobs retry --status failed              run it again
    server-jobs watch                              see all that runs
    server-jobs schedule list                      what runs again and again

    Two settings that nearly all commands need are best put in the environment:

    export SERVER_JOBS_DATABASE_URL=postgresql://user:password@host/name
    export SERVER_JOBS_APP=myapp.jobs:registry
    """


def _run(context: typer.Context) -> None:
    """Execute one claimed job and end: what a Kubernetes pod runs."""
    raise typer.Exit(run.main(context.args))


_BEGIN = "Begin"
_WORK = "Work"
_JOBS = "Jobs"

app.command("demo", rich_help_panel=_BEGIN)(demo.demo)
app.command("migrate", rich_help_panel=_BEGIN)(migrate_and_schema.migrate)
app.command("schema", rich_help_panel=_BEGIN)(migrate_and_schema.schema)
app.command("worker", rich_help_panel=_WORK)(worker.worker)
app.command(
    "run",
    rich_help_panel=_WORK,
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)(_run)
app.command("enqueue", rich_help_panel=_JOBS)(enqueue.enqueue)
app.command("list", rich_help_panel=_JOBS)(list_and_show.list_jobs)
app.command("show", rich_help_panel=_JOBS)(list_and_show.show)
app.command("watch", rich_help_panel=_JOBS)(watch.watch)
app.command("retry", rich_help_panel=_JOBS)(retry_and_cancel.retry)
app.command("cancel", rich_help_panel=_JOBS)(retry_and_cancel.cancel)
app.command("stats", rich_help_panel=_JOBS)(stats.stats)
app.command("doctor", rich_help_panel=_BEGIN)(doctor.doctor)
app.command("prune", rich_help_panel=_JOBS)(prune.prune)
app.add_typer(group.group, name="schedule", rich_help_panel="Schedules")
