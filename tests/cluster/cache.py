"""Where what is costly to make is kept: outside the checkout, one folder per content of its recipe.

A thing is made in a folder beside its place and moved there whole, so an interrupted run leaves
nothing that looks finished, and the next one begins again.
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path


def root() -> Path:
    """The folder of everything cached; ``XDG_CACHE_HOME`` moves it."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "server-jobs" / "cluster"


def made(name: str, recipe: bytes, make: Callable[[Path], None]) -> Path:
    """The folder that ``make`` filled for this recipe, made now if it is missing."""
    place = root() / f"{name}-{hashlib.sha256(recipe).hexdigest()[:12]}"
    if place.exists():
        return place
    with _lock(name):
        if place.exists():  # by the run that we waited for
            return place
        unfinished = place.with_suffix(".unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        make(unfinished)
        unfinished.rename(place)
    return place


@contextlib.contextmanager
def _lock(name: str) -> Iterator[None]:
    root().mkdir(parents=True, exist_ok=True)
    with (root() / f"{name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
