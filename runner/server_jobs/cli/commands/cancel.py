"""``cancel``: ends pending jobs, and asks running ones to stop."""

from __future__ import annotations

import asyncio

from server_jobs.cli.changes import Action, Request, change, takes_request
from server_jobs.records.status import LIVE, JobStatus
from server_jobs.store.store import Store

CANCEL = Action(
    "cancel",
    LIVE,
    {JobStatus.CANCELLED: "cancelled", JobStatus.RUNNING: "asked to stop"},
    Store.cancel_many,
)


@takes_request
def cancel(request: Request) -> None:
    """Cancel pending jobs at once, and ask running ones to stop.

    Jobs that you name are cancelled at once. Jobs that filters choose are
    counted, and you are asked first, unless --yes is given. The worker of a
    running job cancels it once its handler has stopped. If the handler finishes
    first, the job completes.

    server-jobs cancel 0197a3c2-5b1e-7f04
    server-jobs cancel --queue mail --status pending --older-than 7d --dry-run
    server-jobs cancel --correlation-id order-1017 --yes --json
    """
    asyncio.run(change(CANCEL, request))
