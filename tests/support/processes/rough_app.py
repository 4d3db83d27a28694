"""An app whose handlers do to their process, and to its event loop, what they shouldn't."""

import argparse
import asyncio
import logging.config
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from server_jobs import JobContext, RetryPolicy, create_job_registry, define_job
from tests.support.processes.app import FOLDER_SETTING

Rough = Callable[[JobContext], Any]
ROUGH: dict[str, Rough] = {}


class Own(BaseException):
    """Not an ``Exception``, as some libraries derive theirs."""


def note(what: str) -> None:
    """Write down what a handler does, in the folder that the environment names."""
    (Path(os.environ[FOLDER_SETTING]) / f"{what}-{os.getpid()}").touch()


def rough(handler: Rough) -> Rough:
    ROUGH[handler.__name__] = handler
    return handler


async def exiting(status: object = 0) -> None:
    await asyncio.sleep(0.01)
    sys.exit(status)  # type: ignore[arg-type]


async def raising(error: BaseException) -> None:
    await asyncio.sleep(0.01)
    raise error


@rough
async def exits_in_a_task(context: JobContext) -> None:
    task = asyncio.create_task(exiting())
    await asyncio.sleep(20)
    await task


@rough
async def exits_in_a_task_that_it_awaits(context: JobContext) -> None:
    await asyncio.create_task(exiting(3))


@rough
async def parses_arguments_in_gather(context: JobContext) -> None:
    async def parse() -> None:
        argparse.ArgumentParser().parse_args(["--unknown"])

    await asyncio.gather(asyncio.sleep(20), parse())


@rough
async def exits_in_a_task_group(context: JobContext) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(exiting())
        group.create_task(asyncio.sleep(20))


@rough
async def exits_in_a_callback(context: JobContext) -> None:
    asyncio.get_running_loop().call_soon(sys.exit)
    await asyncio.sleep(20)


@rough
async def interrupts_in_a_task(context: JobContext) -> None:
    await asyncio.create_task(raising(KeyboardInterrupt()))


@rough
async def interrupts(context: JobContext) -> None:
    raise KeyboardInterrupt


@rough
async def raises_its_own_in_a_task(context: JobContext) -> None:
    await asyncio.create_task(raising(Own("of its own")))


@rough
async def stops_the_loop(context: JobContext) -> None:
    asyncio.get_running_loop().stop()
    await asyncio.sleep(20)


@rough
async def shuts_the_executor_down(context: JobContext) -> None:
    await asyncio.get_running_loop().shutdown_default_executor()


@rough
async def cancels_all_tasks(context: JobContext) -> None:
    for task in asyncio.all_tasks():
        task.cancel()
    await asyncio.sleep(20)


@rough
async def cancels_all_other_tasks(context: JobContext) -> None:
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
    await asyncio.sleep(20)


@rough
async def cancels_itself_and_returns(context: JobContext) -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()


@rough
async def closes_stderr(context: JobContext) -> None:
    sys.stderr.close()
    raise ValueError("with stderr closed")


@rough
async def closes_the_descriptor_of_stderr(context: JobContext) -> None:
    os.close(2)
    os.open(os.devnull, os.O_WRONLY)  # as 2: not a connection's, which lines would end up in
    raise ValueError("with descriptor 2 closed")


@rough
async def takes_stdout_and_stderr_away(context: JobContext) -> None:
    sys.stdout = sys.stderr = None
    raise ValueError("with neither")


@rough
async def silences_logging(context: JobContext) -> None:
    logging.config.dictConfig({"version": 1, "root": {"level": "CRITICAL", "handlers": []}})
    raise ValueError("in silence")


async def _stopped_as(error: BaseException) -> None:
    """Wait until it is interrupted, and raise that in place of the interruption."""
    note("began")
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        raise error from None


@rough
async def turns_its_end_into_a_connection_error(context: JobContext) -> None:
    await _stopped_as(ConnectionError("the socket is closed"))


@rough
async def turns_its_end_into_a_group(context: JobContext) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(_stopped_as(ConnectionError("the socket is closed")))
        group.create_task(_stopped_as(OSError("and the other one")))


@rough
async def turns_its_end_into_its_own(context: JobContext) -> None:
    await _stopped_as(Own("interrupted"))


@rough
def exits_on_a_thread(context: JobContext) -> None:
    sys.exit(5)


@rough
def interrupts_on_a_thread(context: JobContext) -> None:
    raise KeyboardInterrupt


@rough
def exits_in_a_thread_of_its_own(context: JobContext) -> str:
    thread = threading.Thread(target=sys.exit)
    thread.start()
    thread.join()
    return "the thread has ended, and nothing else"


@define_job(name="Rough", max_attempts=1, retry_policy=RetryPolicy.fixed(0))
async def rough_async(what: str, context: JobContext) -> str | None:
    result: str | None = await ROUGH[what](context)
    return result


@define_job(name="RoughPlain", max_attempts=1, retry_policy=RetryPolicy.fixed(0))
def rough_plain(what: str, context: JobContext) -> str | None:
    result: str | None = ROUGH[what](context)
    return result


@define_job(name="Good")
async def good(n: int) -> int:
    await asyncio.sleep(0.3)
    return n


registry = create_job_registry().register(rough_async).register(rough_plain).register(good)


def rough_job(what: str) -> Any:
    """The job that runs this handler as what it is, async or plain."""
    return rough_async if asyncio.iscoroutinefunction(ROUGH[what]) else rough_plain
