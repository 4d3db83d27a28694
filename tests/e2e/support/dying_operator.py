"""An operator whose client kills it at a point of its first launch: before the API server is asked
to create the Job, or when it has created it and nobody has heard of it yet.

    python -m tests.e2e.support.dying_operator before|after run …
"""

import os
import signal
import sys
from typing import NoReturn

from server_jobs_operator.cli import app
from server_jobs_operator.cluster.kube import Json, Kube


def main() -> None:
    point = sys.argv.pop(1)
    create = Kube.create

    async def create_and_die(kube: Kube, path: str, body: Json, *, dry_run: bool = False) -> Json:
        if dry_run or body["kind"] != "Job":
            return await create(kube, path, body, dry_run=dry_run)
        if point == "after":
            await create(kube, path, body)
        die()

    setattr(Kube, "create", create_and_die)  # noqa: B010 - mypy takes no other method
    app()


def die() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("SIGKILL was survived")


if __name__ == "__main__":
    main()
