"""A job, from its definition to its result."""

import asyncio
import tempfile

from pydantic import BaseModel

from server_jobs import connect, create_job_registry, define_job
from server_jobs.migrate import migrate
from server_jobs.worker import LocalWorker, WorkerConfig


class Text(BaseModel):
    """What the handler takes."""

    words: str


@define_job(name="CountWords", max_attempts=5)
async def count_words(params: Text) -> int:
    return len(params.words.split())


async def main(url: str) -> None:
    migrate(url)
    database = connect(url)
    registry = create_job_registry().register(count_words).bind(database)

    job_id = await count_words.later(Text(words="to be or not to be"))  # a row, for a worker

    drain = WorkerConfig(drain=True)  # ends when the queue is empty; usually a process of its own
    await LocalWorker(database=database, job_registry=registry, config=drain).run_until_stopped()

    result = await count_words.wait(job_id, timeout=10)
    print(result.data)  # 6, and a type checker knows that it is an int
    await database.close()


with tempfile.TemporaryDirectory() as folder:
    asyncio.run(main(f"sqlite:///{folder}/jobs.db"))
