"""``python -m benchmarks`` measures server-jobs beside the raw limits of its databases."""

from __future__ import annotations

import json
import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from benchmarks import (
    beside,
    drain,
    edge,
    enqueue,
    imports,
    kubernetes,
    memory,
    pickup,
    runner_start,
    schedules,
)
from benchmarks.profiling import profile
from benchmarks.support.databases import SETTINGS, Kind, throw_away
from benchmarks.support.machine import describe, disk_folder
from benchmarks.support.progress import Steps
from benchmarks.support.report import HEADINGS, Figure, document, markdown, print_table
from benchmarks.support.run import Benchmark, Run

BENCHMARKS: dict[str, Benchmark] = {
    "enqueue": enqueue.measure,
    "params": enqueue.params_read_back,
    "drain": drain.measure,
    "beside": beside.measure,
    "pickup": pickup.latency,
    "idle": pickup.idle,
    "memory": memory.measure,
    "imports": imports.measure,
    "schedules": schedules.ticks,
    "cron": schedules.cron,
    "runner-start": runner_start.measure,
    "kubernetes": kubernetes.measure,
    "edge": edge.measure,
}

NOTES = [
    "Medians; ± is half the distance between the extremes. Both sides take turns, in processes of"
    " their own. Raw: the same SQL in a bare loop on psycopg or sqlite3, values made beforehand.",
]


_ORDER = ["SQLite", "PostgreSQL", "D1", "libSQL", "none"]


class Only(StrEnum):
    """Names the databases to measure on."""

    SQLITE = "sqlite"
    POSTGRESQL = "postgresql"


class Name(StrEnum):
    """Names the benchmarks."""

    ENQUEUE = "enqueue"
    PARAMS = "params"
    DRAIN = "drain"
    BESIDE = "beside"
    PICKUP = "pickup"
    IDLE = "idle"
    MEMORY = "memory"
    IMPORTS = "imports"
    SCHEDULES = "schedules"
    CRON = "cron"
    RUNNER_START = "runner-start"
    KUBERNETES = "kubernetes"
    EDGE = "edge"


# The first needs root and a toolchain that builds a control plane, the second packages from npm.
ONLY_WHEN_NAMED = {Name.KUBERNETES, Name.EDGE}


def main(
    names: Annotated[
        list[Name] | None,
        typer.Argument(help="Which benchmarks; by default all but kubernetes and edge."),
    ] = None,
    database: Annotated[Only | None, typer.Option(help="On this database alone.")] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="A tenth of the size, less exact.")
    ] = False,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown.")] = False,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write everything to this file as well.")
    ] = None,
    profiled: Annotated[
        bool, typer.Option("--profile", help="Show where a draining worker's time goes instead.")
    ] = False,
) -> None:
    """Measure server-jobs beside the raw limits of the databases."""
    # A developer's own settings mustn't change the databases made here.
    for variable in [name for name in os.environ if name.startswith("SERVER_JOBS_")]:
        del os.environ[variable]
    kinds: list[Kind] = [database.value] if database else ["sqlite", "postgresql"]
    figures: list[Figure] = []
    reports: list[str] = []
    with Steps() as steps, throw_away(disk_folder(), postgres="postgresql" in kinds) as databases:
        run = Run(databases, kinds, steps, *((0.1, 2) if quick else (1.0, 5)))
        machine = describe(databases.folder, databases.server_url)
        if profiled:
            steps.stage("profiling a drain", 3 * len(kinds))
            reports += [profile(run, kind) for kind in kinds]
        else:
            for name in names or [name for name in Name if name not in ONLY_WHEN_NAMED]:
                figures += BENCHMARKS[name](run)
    if profiled:
        print("\n".join(reports))
        return
    settings = [*(SETTINGS[kind] for kind in kinds), *NOTES]
    figures.sort(key=lambda figure: _ORDER.index(figure.database))
    if as_markdown:
        print(markdown(figures, machine, settings, HEADINGS))
    else:
        print_table(figures, machine, settings, HEADINGS)
    if json_file is not None:
        json_file.write_text(json.dumps(document(figures, machine, settings), indent=2) + "\n")


if __name__ == "__main__":
    typer.run(main)
