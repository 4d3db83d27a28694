"""``retry``: runs failed and cancelled jobs again."""

from __future__ import annotations

import asyncio

from server_jobs.cli.changes import Action, Request, change, takes_request
from server_jobs.records.status import RETRYABLE, JobStatus
from server_jobs.store.store import Store

RETRY = Action("retry", RETRYABLE, {JobStatus.PENDING: "retried"}, Store.retry_many)


@takes_request
def retry(request: Request) -> None:
    """Run failed and cancelled jobs again, with all their attempts.

    Jobs that you name are retried at once. Jobs that filters choose are counted,
    and you are asked first, unless --yes is given. A job that can't be retried
    is skipped, with the reason: for instance, a pending or running job has its
    unique key. Of several jobs with one key, the newest is retried.

    server-jobs retry 0197a3c2-5b1e-7f04
    server-jobs retry --name SendEmail --status failed --newer-than 2h --dry-run
    server-jobs retry --name SendEmail --status failed --newer-than 2h --yes
    """
    asyncio.run(change(RETRY, request))
