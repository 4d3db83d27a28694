"""Backends are where jobs run. This room has what they share; each backend has a place of its own.

``protocol`` is what every backend offers. ``base`` claims, executes and settles jobs, one poll at a
time. ``work_loop`` does so again and again, and ``upkeep`` does beside it what a long-running
worker needs. The backends themselves are ``server_jobs.worker``, ``server_jobs.memory``, the
operator's package and the edge's.
"""

from server_jobs.backend.base import BaseWorkerBackend
from server_jobs.backend.protocol import (
    PollResult,
    WorkerBackend,
    WorkerBackendConfig,
    WorkerExecutionResult,
)
from server_jobs.execution.lease_keeper import LeaseKeeping

__all__ = [
    "BaseWorkerBackend",
    "LeaseKeeping",
    "PollResult",
    "WorkerBackend",
    "WorkerBackendConfig",
    "WorkerExecutionResult",
]
