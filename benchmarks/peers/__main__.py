"""``python -m benchmarks.peers`` measures server-jobs beside other job queues in one run."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from benchmarks.peers import table
from benchmarks.peers.comparison import FULL, QUICK, compare
from benchmarks.peers.huey_peer import HueyPeer
from benchmarks.peers.ours import ServerJobs
from benchmarks.peers.pgqueuer_peer import PgQueuerPeer
from benchmarks.peers.procrastinate_peer import ProcrastinatePeer
from benchmarks.peers.system import System
from benchmarks.support.databases import SETTINGS, Kind, throw_away
from benchmarks.support.machine import Machine, describe, disk_folder
from benchmarks.support.progress import Steps

NOTES = [
    "One worker process a system, no-op jobs with a small document as params, logs at warnings"
    " unless it says otherwise; medians of turns, ± half the distance between the extremes. A drain"
    " lasts from the first handler's start until the database has every job as done.",
    "Each system's best settings were chosen in rounds of their own and compared in others; ÷ is"
    " the median of the rounds' ratios, and a target counts as reached, or not, where all rounds"
    " agree.",
    "Pickup: from calling enqueue to the handler's start, one job at a time after a random pause,"
    " workers as they come.",
]


class Peer(StrEnum):
    """Names the systems to measure beside server-jobs."""

    PGQUEUER = "pgqueuer"
    PROCRASTINATE = "procrastinate"
    HUEY = "huey"


PEERS: dict[Peer, System] = {
    Peer.PGQUEUER: PgQueuerPeer(),
    Peer.PROCRASTINATE: ProcrastinatePeer(),
    Peer.HUEY: HueyPeer(),
}


def main(
    names: Annotated[list[Peer] | None, typer.Argument(help="Which; all if none is named.")] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="One round of a quarter of the jobs.")
    ] = False,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown.")] = False,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write every sample to this file as well.")
    ] = None,
) -> None:
    """Measure server-jobs beside other job queues on the same databases."""
    # A developer's own settings mustn't change the databases made here.
    prefixes = ("SERVER_JOBS_", "PGQUEUER_", "PROCRASTINATE_", "PG")
    for variable in [name for name in os.environ if name.startswith(prefixes)]:
        del os.environ[variable]
    peers = [PEERS[name] for name in names or list(Peer)]
    kinds: list[Kind] = [
        kind for kind in ("postgresql", "sqlite") if any(peer.kind == kind for peer in peers)
    ]
    results = []
    with Steps() as steps, throw_away(disk_folder(), postgres="postgresql" in kinds) as databases:
        machine = describe(databases.folder, databases.server_url)
        for kind in kinds:
            systems = [ServerJobs(kind), *(peer for peer in peers if peer.kind == kind)]
            results.append(compare(systems, databases, QUICK if quick else FULL, steps))
    notes = [*(SETTINGS[kind] for kind in kinds), *NOTES]
    tables = [make(group) for group in results for make in (table.best, table.every_setting)]
    if as_markdown:
        print(table.markdown(tables, machine, notes))
    else:
        _print(tables, machine, notes)
    if json_file is not None:
        everything = [result for group in results for result in group]
        written = json.dumps(table.document(everything, machine, notes), indent=2)
        json_file.write_text(written + "\n")


def _print(tables: Sequence[table.Table], machine: Machine, notes: Sequence[str]) -> None:
    # In a pipe, lines aren't wrapped.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 200)
    for line in [*machine.lines, *notes]:
        console.print(escape(line), style="dim")
    for each in tables:
        shown = RichTable(title=each.title, title_justify="left", pad_edge=False)
        for heading in each.headings:
            shown.add_column(heading)
        for cells in each.lines:
            shown.add_row(*(escape(cell) for cell in cells))
        console.print(shown)


if __name__ == "__main__":
    typer.run(main)
