"""The in-memory backend for tests. It runs the real statements, on SQLite in memory."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from sqlalchemy.schema import CreateIndex, CreateTable

from server_jobs.backend.base import BaseWorkerBackend
from server_jobs.backend.protocol import PollResult, WorkerBackendConfig
from server_jobs.database import Database, connect
from server_jobs.definition.enqueue import new_job
from server_jobs.records.rows import NewJob
from server_jobs.registry import JobRegistry
from server_jobs.sql.rules import complete_tables
from server_jobs.sql.statement import Statement
from server_jobs.sql.tables import SCHEMA_VERSION


class InMemoryBackend(BaseWorkerBackend):
    """Executes jobs that exist only as long as this object.

    ``add_job`` needs no await, so that a test reads in the order in which it runs; the next
    ``poll_and_claim`` inserts what was added. ``database`` is ignored; it is accepted because other
    backends need one.
    """

    name = "memory"

    def __init__(
        self,
        *,
        job_registry: JobRegistry,
        database: object = None,
        config: WorkerBackendConfig | None = None,
    ) -> None:
        del database
        super().__init__(
            database=connect("sqlite://", schema="", table_prefix=""),
            job_registry=job_registry,
            config=config,
        )
        self._added: list[NewJob] = []
        self._lock = threading.Lock()

    @property
    def database(self) -> Database:
        """The database in memory, to be given to ``registry.bind``, for instance."""
        return self.store.database

    async def initialize(self) -> None:
        """Create the tables and begin to keep leases."""
        names = self.database.tables
        tables = complete_tables(names.schema, names.prefix)
        for table in tables.metadata.sorted_tables:
            await self.database.execute(Statement(CreateTable(table, if_not_exists=True)))
            for index in table.indexes:
                await self.database.execute(Statement(CreateIndex(index, if_not_exists=True)))
        version = {"version": SCHEMA_VERSION, "oldest_code": SCHEMA_VERSION}
        await self.database.execute(Statement(tables.info.insert().values(**version)))
        await super().initialize()

    async def shutdown(self) -> None:
        """Give back the jobs that are held, and forget everything."""
        await super().shutdown()
        await self.database.close()

    async def poll_and_claim(self, limit: int | None = None) -> PollResult:
        """Insert the jobs that were added, then claim."""
        with self._lock:
            added, self._added = self._added, []
        if added:
            await self.store.enqueue(added)
        return await super().poll_and_claim(limit)

    def add_job(
        self, *, job_name: str, params: Mapping[str, Any] | Any, max_attempts: int | None = None
    ) -> str:
        """Enqueue a job of the registry, to the first of ``queues`` → its id.

        Raises UnknownJobError, InvalidParamsError and InvalidOptionError.
        """
        definition = self.registry.get(job_name).definition
        new = new_job(
            definition,
            definition.params.validate(params),
            max_bytes=self.database.capabilities.max_payload_bytes,
            queue=self.config.queues[0],
            max_attempts=max_attempts,
        )
        with self._lock:
            self._added.append(new)
        return new.id
