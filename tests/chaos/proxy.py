"""A proxy between two ends of a connection, TCP or Unix, that cuts, refuses, delays and swallows what passes it."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

Direction = Literal["up", "down"]
"""``up``: from who connected to who is proxied. ``down``: back."""

T = TypeVar("T")

_PIECE_BYTES = 64 * 1024
_WAIT_SECONDS = 10.0


class Proxy:
    """Passes bytes on, and faults at the call of a test. Runs in a thread of its own; methods may be called from any.

    Args:
        upstream: where to connect to: a path, or (host, port); asked again for each connection.
        listen: the path of a Unix socket to listen on; None: a free port of loopback.
    """

    def __init__(self, upstream: Callable[[], Path | tuple[str, int]], *, listen: Path | None = None) -> None:
        self._upstream = upstream
        self._listen = listen
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._lossy: set[asyncio.StreamWriter] = set()
        self._delay = 0.0
        self._refusing = False
        self._swallowing: frozenset[Direction] = frozenset()
        self.connections = 0
        """How many connections were passed on."""
        self.cuts = 0
        """How many connections were cut."""
        self.swallowed = 0
        """How many bytes never arrived."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="chaos-proxy")
        self._thread.start()
        self._server = self._do(self._start())

    @property
    def target(self) -> str:
        """Where it listens, as a gRPC target."""
        if self._listen is not None:
            return f"unix:{self._listen}"
        host, port = self._server.sockets[0].getsockname()
        return f"{host}:{port}"

    # Faults

    def cut(self) -> int:
        """End all connections now, at both ends, whatever is under way. How many there were."""
        return self._do(self._cut())

    def refuse(self, refusing: bool = True) -> None:
        """Whether new connections end at once. Those that are there stay."""
        self._refusing = refusing

    def delay(self, seconds: float) -> None:
        """How long each piece of bytes is kept before it is passed on."""
        self._delay = seconds

    def swallow(self, *directions: Direction) -> None:
        """Half-open: bytes in these directions (none given: both) vanish, and nobody is told."""
        self._swallowing = frozenset(directions or ("up", "down"))

    def heal(self) -> None:
        """No further faults. Connections of which bytes were swallowed are cut: they could not go on."""
        self._refusing, self._delay, self._swallowing = False, 0.0, frozenset()
        self._do(self._cut(self._lossy))

    def close(self) -> None:
        """Stop listening, cut everything, end the thread."""
        if self._thread.is_alive():
            self._do(self._stop())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()
            if self._listen is not None:
                self._listen.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    # In the thread

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_WAIT_SECONDS)

    async def _start(self) -> asyncio.Server:
        if self._listen is not None:
            return await asyncio.start_unix_server(self._accept, self._listen)
        return await asyncio.start_server(self._accept, "127.0.0.1", 0)

    async def _stop(self) -> None:
        self._server.close()
        await self._cut()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _cut(self, which: set[asyncio.StreamWriter] | None = None) -> int:
        writers = list(self._writers if which is None else which)
        for writer in writers:
            writer.transport.abort()
        self.cuts += len(writers) // 2
        return len(writers) // 2

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        if self._refusing:
            writer.transport.abort()
            return
        try:
            upstream = self._upstream()
            if isinstance(upstream, Path):
                far_reader, far_writer = await asyncio.open_unix_connection(upstream)
            else:
                far_reader, far_writer = await asyncio.open_connection(*upstream)
        except OSError:  # nobody there: the caller sees a connection that ends
            writer.transport.abort()
            return
        pair = {writer, far_writer}
        self._writers |= pair
        self.connections += 1
        try:
            await asyncio.gather(
                self._pump("up", reader, far_writer, pair), self._pump("down", far_reader, writer, pair)
            )
        finally:
            self._writers -= pair
            self._lossy -= pair
            for each in pair:
                each.transport.abort()

    async def _pump(
        self,
        direction: Direction,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        pair: set[asyncio.StreamWriter],
    ) -> None:
        """Pass on what comes from one end until it ends; then the other end is closed, too."""
        with contextlib.suppress(OSError):
            while piece := await reader.read(_PIECE_BYTES):
                if self._delay:
                    await asyncio.sleep(self._delay)
                if direction in self._swallowing:
                    self.swallowed += len(piece)
                    self._lossy |= pair
                    continue
                writer.write(piece)
                await writer.drain()
        if direction not in self._swallowing:  # an end that is swallowed is not told, either
            for each in pair:
                each.close()
