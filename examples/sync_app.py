"""An application without an event loop: ``run_sync`` is the one facade it needs.

Django, Flask and scripts enqueue, wait and look up like this. The worker is a process of its own
(``server-jobs worker``); so that this file runs by itself, it also starts one for a moment.
"""

import tempfile

from pydantic import BaseModel

from server_jobs import connect, create_job_registry, define_job, run_sync
from server_jobs.migrate import migrate
from server_jobs.worker import LocalWorker, WorkerConfig


class Upload(BaseModel):
    """A book that somebody sent."""

    title: str
    pages: int


@define_job(name="MakeThumbnail")
def make_thumbnail(params: Upload) -> str:  # a plain function: it runs on a thread
    return f"{params.title.lower()}.png"


def handle_request(title: str) -> str:
    """What a view would do: answer at once, and leave the work to a worker."""
    return run_sync(make_thumbnail.later(Upload(title=title, pages=1), unique_key=title))


def main(url: str) -> None:
    migrate(url)
    database = connect(url)
    registry = create_job_registry().register(make_thumbnail).bind(database)

    job_id = handle_request("Ulysses")
    again = handle_request("Ulysses")  # a nervous double click finds the job that is there
    print("one job for both requests:", job_id == again)
    assert job_id == again

    drain = WorkerConfig(drain=True)
    run_sync(
        LocalWorker(database=database, job_registry=registry, config=drain).run_until_stopped()
    )
    result = run_sync(make_thumbnail.wait(job_id, timeout=10))
    print("made", result.data)

    # Where the answer is needed at once, the job runs here, with a record like any other's.
    print("made", run_sync(make_thumbnail.now({"title": "Emma", "pages": 2})).data)
    run_sync(database.close())


with tempfile.TemporaryDirectory() as folder:
    main(f"sqlite:///{folder}/jobs.db")
