"""A database in memory, for what only needs to read and write it."""

from collections.abc import AsyncIterator

import pytest

from server_jobs import create_job_registry
from server_jobs.database import Database
from server_jobs.memory import InMemoryBackend


@pytest.fixture
async def database() -> AsyncIterator[Database]:
    memory = InMemoryBackend(job_registry=create_job_registry())
    await memory.initialize()
    yield memory.database
    await memory.shutdown()
