"""Notices the signals that ask a runner to end, whatever its handler does."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
from types import FrameType


class Signals:
    """Within this block SIGTERM and SIGINT set ``asked``, or end the process before ``job_begins``.

    The interpreter notes a signal in C and writes a byte to a socket, which a thread reads. So a
    signal is noticed even while a handler keeps the main thread in a library's C code.
    """

    def __init__(self) -> None:
        self.asked = False
        self.job_begins = False
        self._undo = contextlib.ExitStack()

    def __enter__(self) -> Signals:
        reader, writer = socket.socketpair()
        writer.setblocking(False)
        former = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        self._undo.callback(reader.close)
        self._undo.callback(writer.shutdown, socket.SHUT_RDWR)
        self._undo.callback(signal.set_wakeup_fd, former)
        for number in (signal.SIGTERM, signal.SIGINT):
            self._undo.callback(signal.signal, number, signal.signal(number, _heard_elsewhere))
        threading.Thread(
            target=self._listen, args=(reader,), name="server-jobs-signals", daemon=True
        ).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._undo.close()

    def _listen(self, reader: socket.socket) -> None:
        while number := reader.recv(1):
            self.asked = True
            if not self.job_begins:
                os._exit(128 + number[0])  # no handler has begun; the launcher sees the pod end


def _heard_elsewhere(number: int, frame: FrameType | None) -> None:
    """Do nothing. Without a handler in Python, the signal would end the process."""
