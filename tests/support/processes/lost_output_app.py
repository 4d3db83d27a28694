"""Jobs that print what can't be written any more, and then don't end, or end in a forked child."""

import os
import time

from server_jobs import create_job_registry, define_job

FORKED_STATUS = 7


def lose_output(to: str) -> None:
    """Let stdout lead to a full disk, or to a pipe that nobody reads, and print into it."""
    if to == "full disk":
        where = os.open("/dev/full", os.O_WRONLY)
    else:
        reader, where = os.pipe()
        os.close(reader)
    os.dup2(where, 1)
    print("it waits in stdout's buffer")


@define_job(name="PrintAndStay")
def print_and_stay(params: str) -> None:
    lose_output(params)
    time.sleep(1_000)


@define_job(name="PrintInChild")
def print_in_child(params: str) -> int:
    child = os.fork()
    if child == 0:
        lose_output(params)
        raise SystemExit(FORKED_STATUS)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


registry = create_job_registry().register(print_and_stay).register(print_in_child)
