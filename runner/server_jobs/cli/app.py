"""The command ``server-jobs``: all commands, and the options that come before them."""

from __future__ import annotations

from typing import Annotated, ClassVar

import typer

import server_jobs
from server_jobs.cli.failures import EXIT_CODES
from server_jobs.cli.groups import LazyGroup, Listed, ReportingGroup

_BEGIN = "Begin"
_WORK = "Work"
_JOBS = "Jobs"


class Commands(LazyGroup, ReportingGroup):
    """All commands. A test compares this table with the help of each command."""

    package = "server_jobs.cli"
    listed: ClassVar = {
        "demo": Listed(
            "commands.demo:demo",
            "Run real jobs and watch them: one per module of Python's standard library.",
            _BEGIN,
        ),
        "migrate": Listed(
            "commands.migrate:migrate", "Make the tables, or bring them up to date.", _BEGIN
        ),
        "schema": Listed(
            "commands.schema:schema",
            "Print the SQL of the tables as this release needs them.",
            _BEGIN,
        ),
        "worker": Listed(
            "commands.worker:worker",
            "Execute jobs until stopped. Run as many workers as you like.",
            _WORK,
        ),
        "run": Listed(
            "app:run", "Execute one claimed job and end: what a Kubernetes pod runs.", _WORK
        ),
        "enqueue": Listed(
            "commands.enqueue:enqueue",
            "Enqueue a job, after checking its params, and print its id.",
            _JOBS,
        ),
        "list": Listed(
            "commands.list:list_jobs", "List jobs, the newest first, with times in UTC.", _JOBS
        ),
        "show": Listed(
            "commands.show:show",
            "Show one job: params, result, progress, who holds it, and what went wrong.",
            _JOBS,
        ),
        "watch": Listed(
            "commands.watch:watch",
            "Watch jobs until they have ended: bars on a terminal, lines elsewhere.",
            _JOBS,
        ),
        "retry": Listed(
            "commands.retry:retry",
            "Run failed and cancelled jobs again, with all their attempts.",
            _JOBS,
        ),
        "cancel": Listed(
            "commands.cancel:cancel",
            "Cancel pending jobs at once, and ask running ones to stop.",
            _JOBS,
        ),
        "stats": Listed(
            "commands.stats:stats",
            "Show how many jobs wait and run, and how the rest ended.",
            _JOBS,
        ),
        "doctor": Listed(
            "commands.doctor:doctor",
            "Check that all is well, and say what to do if something isn't.",
            _BEGIN,
        ),
        "prune": Listed(
            "commands.prune:prune",
            "Delete the records of jobs that ended long ago, for good.",
            _JOBS,
        ),
        "schedule": Listed(
            "commands.schedule.group:group",
            "Jobs that run again and again, at the times of a cron expression.",
            "Schedules",
        ),
    }


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    rich_markup_mode="rich",
    # Typer's tracebacks show local variables, which may hold secrets.
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
            help="Show the traceback of an error, and not only its message.",
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
    server-jobs show 0197a3c2-5b1e-7f04            see why
    server-jobs doctor                             check that all is well
    server-jobs retry --status failed              run failed jobs again
    server-jobs watch                              see all running jobs
    server-jobs schedule list                      see the schedules

    Nearly all commands need two settings. Put them in the environment:

    export SERVER_JOBS_DATABASE_URL=postgresql://user:password@host/name
    export SERVER_JOBS_APP=myapp.jobs:registry
    """


run = typer.Typer(add_completion=False)


@run.command(
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)
def _run(context: typer.Context) -> None:
    """Execute one claimed job and end: what a Kubernetes pod runs."""
    # Its options are argparse's, so that a pod starts without Typer.
    from server_jobs.cli.commands.run import main

    raise typer.Exit(main(context.args))
