"""A Worker that does by hand what a backend does: for tests of the harness, which know it all."""

import asyncio
import json
from typing import Any

from workers import Response, WorkerEntrypoint, fetch

from server_jobs import create_job_registry, define_job
from server_jobs.records.outcomes import Completed
from server_jobs.records.requests import ClaimRequest
from server_jobs.store.store import Store
from server_jobs_cloudflare.d1 import D1Database

__all__ = ["Default"]


@define_job(name="Greet")
async def greet(params: dict[str, Any]) -> None: ...


# Declared where a Worker declares: in the global scope, without entropy and clock.
registry = create_job_registry("harness").register(greet)
registry.schedule(greet, "0 9 * * 1-5", params={"to": "Ada"}, time_zone="Europe/Zurich")


class Default(WorkerEntrypoint):  # type: ignore[misc] # the SDK is only at the edge
    async def scheduled(self, controller: Any, env: Any, ctx: Any) -> None:
        """Claim and complete, seven at a time, until there is nothing left."""
        store = Store(D1Database(self.env.DB))
        await store.stage()
        claim = ClaimRequest("default", ["Greet"], 7, "edge", 60.0, True)
        _, jobs = await store.settle_and_claim({}, claim)
        while jobs:
            outcomes = {job.claim: Completed("null") for job in jobs}
            _, jobs = await store.settle_and_claim(outcomes, claim)
        print(json.dumps({"tick": "done", "cron": controller.cron}))

    async def fetch(self, request: Any) -> Any:
        """``/many/7`` makes that many D1 calls at once; ``/get?url`` fetches."""
        _, _, wanted = request.url.partition("/many/")
        if wanted:
            calls = (self.env.DB.prepare("SELECT 1").all() for _ in range(int(wanted)))
            answers = await asyncio.gather(*calls, return_exceptions=True)
            return Response("\n".join(str(e) for e in answers if isinstance(e, Exception)))
        _, _, url = request.url.partition("?")
        try:
            response = await fetch(url)
            return Response(await response.text(), status=response.status)
        except Exception as error:  # noqa: BLE001 - whatever it is, the test reads it
            return Response(str(error), status=502)
