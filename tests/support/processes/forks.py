"""Work in a forked child, as prefork servers and multiprocessing do it."""

import contextlib
import multiprocessing
from collections.abc import Callable, Iterator

_FORK = multiprocessing.get_context("fork")

PATIENCE_SECONDS = 20.0


class Signal:
    """Raised in one process, awaited in the other."""

    def __init__(self) -> None:
        self._event = _FORK.Event()

    def give(self) -> None:
        self._event.set()

    def wait(self) -> None:
        assert self._event.wait(PATIENCE_SECONDS), "the other process never gave its signal"


@contextlib.contextmanager
def forked(work: Callable[[], object]) -> Iterator[None]:
    """Run ``work`` in a child while the block runs; both must end well."""
    child = _FORK.Process(target=work)
    child.start()
    try:
        yield
        child.join(PATIENCE_SECONDS)
        assert child.exitcode is not None, "the child hangs"
        assert child.exitcode == 0, "the child failed; its traceback is in the captured stderr"
    finally:
        if child.is_alive():
            child.kill()
            child.join()
        child.close()
