"""Ids: UUIDv7, as 36 characters of text that sort by when they were made."""

from __future__ import annotations

import os
import socket

from server_jobs.records.text import clean


def new_id() -> str:
    """Return a new id."""
    # Imported at the first call: the library imports cryptography, which a pod that only
    # executes a job doesn't need.
    from uuid6 import uuid7

    return str(uuid7())


def random_suffix(length: int = 8) -> str:
    """Return ``digits`` hexadecimal digits, at most 12, that tell processes of one host apart."""
    return new_id()[-length:]


def new_worker_id(kind: str) -> str:
    """Return an id for a worker of this process: its kind, host, process and random digits."""
    # A host's name is bytes to the system. What of it isn't UTF-8 is replaced.
    return f"{kind}/{clean(socket.gethostname())}/{os.getpid()}/{random_suffix()}"
