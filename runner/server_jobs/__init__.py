"""Background jobs for people who already have a SQL database.

::

    @define_job(name="SendEmail")
    async def send_email(params: SendEmailParams, context: JobContext) -> SendEmailResult: ...

    job_id = await send_email.later({"to": "ada@example.com"})

Enqueue is atomic with your transaction; execution is at-least-once; completion is recorded
exactly once, guarded by a fencing token; handlers must be idempotent.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from server_jobs.errors import (
    CancelJob,
    InvalidParamsError,
    JobCancelledError,
    JobFailedError,
    NotStartedError,
    PermanentError,
    RetryLater,
    ServerJobsError,
)

if TYPE_CHECKING:
    from server_jobs.database import connect
    from server_jobs.define import define_job
    from server_jobs.definition.context import JobContext, create_job_context
    from server_jobs.job import Job
    from server_jobs.records.backoff import RetryPolicy
    from server_jobs.records.rows import JobRecord
    from server_jobs.records.runtime import PodRuntime
    from server_jobs.records.status import JobStatus
    from server_jobs.registry import JobRegistry, create_job_registry
    from server_jobs.result import JobMetadata, JobResult
    from server_jobs.synchronous import run_sync

__version__ = "0.1.0"

__all__ = [
    "CancelJob",
    "InvalidParamsError",
    "Job",
    "JobCancelledError",
    "JobContext",
    "JobFailedError",
    "JobMetadata",
    "JobRecord",
    "JobRegistry",
    "JobResult",
    "JobStatus",
    "NotStartedError",
    "PermanentError",
    "PodRuntime",
    "RetryLater",
    "RetryPolicy",
    "ServerJobsError",
    "connect",
    "create_job_context",
    "create_job_registry",
    "define_job",
    "run_sync",
]

# SQLAlchemy and pydantic are most of the time that an import takes. `server-jobs --version` and
# `--help` lie in this package and need neither, so a name is imported when it is first used.
_MODULES = {
    "Job": "job",
    "JobContext": "definition.context",
    "JobMetadata": "result",
    "JobRecord": "records.rows",
    "JobRegistry": "registry",
    "JobResult": "result",
    "JobStatus": "records.status",
    "PodRuntime": "records.runtime",
    "RetryPolicy": "records.backoff",
    "connect": "database",
    "create_job_context": "definition.context",
    "create_job_registry": "registry",
    "define_job": "define",
    "run_sync": "synchronous",
}

if not TYPE_CHECKING:  # type checkers go by the imports above, and so they still know a wrong name

    def __getattr__(name: str) -> Any:
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
