"""Where jobs run: the protocol of backends, and what those that execute jobs share.

``protocol`` is what every backend offers, ``base`` claims, executes and settles one poll at a time,
``work_loop`` does so again and again. The backends themselves are ``server_jobs.worker``,
``server_jobs.memory``, the operator and the edge.
"""

from server_jobs.backend.base import BaseWorkerBackend
from server_jobs.backend.protocol import (
    PollResult,
    WorkerBackend,
    WorkerBackendConfig,
    WorkerExecutionResult,
)

__all__ = [
    "BaseWorkerBackend",
    "PollResult",
    "WorkerBackend",
    "WorkerBackendConfig",
    "WorkerExecutionResult",
]
