"""A TCP proxy whose connections fall silent: nothing is forwarded any more, nothing is closed.

Both sides go on to believe in their connection, and its kernel acknowledges what they send. So it
is behind a firewall that has forgotten a connection, or a balancer or pooler that is stuck.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path


class SilentProxy:
    """Listens on a port of the loopback and forwards to a socket file, until it is told not to."""

    def __init__(self, target: Path) -> None:
        self._target = target
        self._links: set[_Link] = set()
        self.port = 0
        self.accepted = 0
        self.silenced = 0
        self.accepts_silently = False
        """New connections are taken, and not one byte of theirs is forwarded."""

    def silence(self, after_bytes: Callable[[], int] = lambda: 0) -> None:
        """Cut the open connections, each after so many more bytes: in the middle of a message."""
        for link in [link for link in self._links if link.left is None]:
            link.left = after_bytes()
            self.silenced += 1

    def drop_silent(self, rng: random.Random) -> None:
        """Close half of the connections that are silent; the others stay so for ever."""
        for link in [link for link in self._links if link.left is not None and not link.lasts]:
            link.lasts = rng.random() < 0.5
            if not link.lasts:
                link.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        link = _Link(silent=self.accepts_silently)
        link.ends.append(writer)
        self._links.add(link)
        try:
            there_reader, there_writer = await asyncio.open_unix_connection(str(self._target))
            link.ends.append(there_writer)
            async with asyncio.TaskGroup() as both:
                both.create_task(link.pump(reader, there_writer))
                both.create_task(link.pump(there_reader, writer))
        except OSError:
            pass  # the target is away: the client sees its connection end
        finally:
            link.close()
            self._links.discard(link)


class _Link:
    """One connection, both directions of it."""

    def __init__(self, *, silent: bool) -> None:
        self.ends: list[asyncio.StreamWriter] = []
        self.left: int | None = 0 if silent else None
        """How many bytes are still forwarded; None while nothing is cut."""
        self.lasts = False

    async def pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65_536):
                if self.left is not None:
                    data = data[: self.left]
                    self.left -= len(data)
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        if self.left is None:
            writer.close()
        # Else the other side doesn't hear of this one's end either.

    def close(self) -> None:
        for end in self.ends:
            end.transport.abort()


@asynccontextmanager
async def silent_proxy(target: Path) -> AsyncIterator[SilentProxy]:
    """A proxy in front of the socket file, on the running loop."""
    proxy = SilentProxy(target)
    serving: set[asyncio.Task[None]] = set()

    def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(proxy._serve(reader, writer))
        serving.add(task)
        task.add_done_callback(serving.discard)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        for task in list(serving):
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)
