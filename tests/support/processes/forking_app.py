"""Jobs whose handlers make children in all the ways that Python has, and say how those ended.

Each is a job twice: called on a thread, and, with `OnLoop` in its name, on the event loop. Run as
a program, this module is a worker inside somebody's own program.
"""

import asyncio
import concurrent.futures
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from server_jobs import connect, create_job_registry, define_job
from server_jobs.worker import LocalWorker, WorkerConfig
from tests.support.processes.worker import ROOT

FORK = multiprocessing.get_context("fork")

IN_TO_THREAD = "fork_in_to_thread"
"""Ends as it should only where the event loop is ours."""

TERMINATED = -signal.SIGTERM


def pool() -> int:
    with FORK.Pool(2) as workers:  # terminated at the end
        return sum(workers.map(abs, [-1, -2, -3]))


def process_pool() -> int:
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=FORK) as workers:
        return sum(workers.map(abs, [-1, -2, -3]))


def terminate() -> int:
    return _terminated(FORK.Process(target=_sleep))


def interrupt() -> Any:
    began = FORK.Event()
    child = FORK.Process(target=_begin_and_sleep, args=(began,))
    child.start()
    began.wait()  # a KeyboardInterrupt in the middle of a fork would be lost, as in any program
    os.kill(int(child.pid or 0), signal.SIGINT)
    child.join()
    return child.exitcode


def terminate_spawned() -> int:
    return _terminated(multiprocessing.get_context("spawn").Process(target=_sleep))


def terminate_of_a_fork_server() -> int:
    server = multiprocessing.get_context("forkserver")
    return _terminated(server.Process(target=_sleep))


def terminate_program() -> int:
    program = subprocess.Popen(["sleep", "1000"], preexec_fn=os.setpgrp)
    program.terminate()
    return program.wait()


def fork_and_exit() -> int:
    return _status_of_fork(lambda: sys.exit(3))


def fork_and_exit_at_once() -> int:
    return _status_of_fork(lambda: os._exit(4))


def fork_and_return() -> int:
    return _status_of_fork(lambda: None)


def fork_and_raise() -> int:
    return _status_of_fork(lambda: 1 // 0)


def _sleep() -> None:
    time.sleep(1000)


def _begin_and_sleep(began: Any) -> None:
    began.set()
    _sleep()


def _terminated(process: Any) -> int:
    process.start()
    process.terminate()
    process.join()
    return int(process.exitcode)


def _status_of_fork(child: Callable[[], object]) -> int:
    process_id = os.fork()
    if process_id == 0:
        child()
        return -1
    return os.waitstatus_to_exitcode(os.waitpid(process_id, 0)[1])


async def fork_and_go_on(params: None) -> int:
    """The child goes on into the event loop of its parent."""
    process_id = os.fork()
    if process_id == 0:
        while True:  # noqa: ASYNC110 - it waits for its end
            await asyncio.sleep(0)
    return os.waitstatus_to_exitcode(os.waitpid(process_id, 0)[1])  # noqa: ASYNC222


async def fork_in_to_thread(params: None) -> int:
    """The child would wait for the next call on its thread."""
    return await asyncio.to_thread(fork_and_return)


ENDINGS: dict[str, Any] = {}
"""What each job returns."""

registry = create_job_registry("forking")


def _twice(function: Callable[[], object], expected: object) -> None:
    name = function.__name__

    def on_thread(params: None) -> object:
        return function()

    async def on_loop(params: None) -> object:
        return function()

    for job_name, handler in ((name, on_thread), (f"{name}_on_loop", on_loop)):
        registry.register(define_job(name=job_name, max_attempts=1)(handler))
        ENDINGS[job_name] = expected


for each, end in (
    (pool, 6),
    (process_pool, 6),
    (terminate, TERMINATED),
    (terminate_spawned, TERMINATED),
    (terminate_of_a_fork_server, TERMINATED),
    (terminate_program, TERMINATED),
    (interrupt, 1),  # multiprocessing catches the KeyboardInterrupt, and prints it
    (fork_and_exit, 3),
    (fork_and_exit_at_once, 4),
    (fork_and_return, 0),
    (fork_and_raise, 1),
):
    _twice(each, end)

registry.register(define_job(name="fork_and_go_on", max_attempts=1)(fork_and_go_on))
ENDINGS["fork_and_go_on"] = 1
registry.register(define_job(name=IN_TO_THREAD, max_attempts=1)(fork_in_to_thread))
ENDINGS[IN_TO_THREAD] = 0

APP = f"{__name__}:registry"


@contextmanager
def program_with_a_worker(folder: Path, database_url: str) -> Iterator["subprocess.Popen[bytes]"]:
    """Somebody's program, which stops its worker on SIGTERM."""
    log = folder / "program.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", __name__, database_url], cwd=ROOT, stdout=output, stderr=output
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


async def _main(database_url: str) -> None:
    database = connect(database_url)
    registry.bind(database)
    worker = LocalWorker(
        database=database, job_registry=registry, config=WorkerConfig(concurrency=1)
    )
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, worker.stop)
    await worker.run_until_stopped()
    await database.close()


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1]))
