"""A bare grpc.aio server that answers bytes with bytes: what gRPC in Python costs before anything is done."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import grpc

SERVICE = "benchmark.Echo"


class GroupCommit:
    """Appends bytes to a file; what has come while one fsync was under way goes with the next."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._waiting: list[tuple[bytes, asyncio.Future[None]]] = []
        self._writing: asyncio.Task[None] | None = None

    async def append(self, data: bytes) -> None:
        """Returns when the bytes are durable."""
        durable: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((data, durable))
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write())
        await durable

    async def _write(self) -> None:
        while self._waiting:
            taken, self._waiting = self._waiting, []
            await asyncio.to_thread(self._sync, [data for data, _ in taken])
            for _, durable in taken:
                durable.set_result(None)

    def _sync(self, data: list[bytes]) -> None:
        os.writev(self._file, data)
        os.fsync(self._file)


def echo_handler(stream_reply: bytes = b"", journal: GroupCommit | None = None) -> grpc.GenericRpcHandler:
    """``Unary`` answers with the request's bytes, ``Stream`` each message with ``stream_reply``.

    With a journal, messages of a stream are read on while others become durable, and answered in their order.
    """

    async def unary(request: bytes, context: Any) -> bytes:
        return request

    async def stream(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        async for _ in requests:
            yield stream_reply

    async def durable_stream(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        if journal is None:
            raise RuntimeError("there is no journal")
        appended: asyncio.Queue[asyncio.Task[None] | None] = asyncio.Queue()

        async def read() -> None:
            async for request in requests:
                appended.put_nowait(asyncio.create_task(journal.append(request)))
            appended.put_nowait(None)

        reading = asyncio.create_task(read())
        try:
            while (task := await appended.get()) is not None:
                await task
                yield stream_reply
        finally:
            reading.cancel()

    behaviour = stream if journal is None else durable_stream
    return grpc.method_handlers_generic_handler(
        SERVICE,
        {
            "Unary": grpc.unary_unary_rpc_method_handler(unary),
            "Stream": grpc.stream_stream_rpc_method_handler(behaviour),
        },
    )


@contextlib.contextmanager
def echo_server(stream_reply: bytes, journal: Path | None = None) -> Iterator[tuple[str, int]]:
    """A server with ``echo_handler`` in a process of its own, on a Unix socket: its target and process id.

    Args:
        stream_reply: what a stream's messages are answered with.
        journal: a file to which they are appended first; None: nothing is kept.
    """
    directory = Path(tempfile.mkdtemp(prefix="bench-"))
    target = f"unix:{directory / 'socket'}"
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, target, stream_reply, journal), daemon=True)
    process.start()
    ours.recv()
    try:
        yield target, process.pid or 0
    finally:
        process.kill()
        process.join()
        shutil.rmtree(directory, ignore_errors=True)


def _serve(pipe: Connection, target: str, stream_reply: bytes, journal: Path | None) -> None:
    async def serve() -> None:
        server = grpc.aio.server(options=[("grpc.max_receive_message_length", -1)])
        handler = echo_handler(stream_reply, GroupCommit(journal) if journal is not None else None)
        server.add_generic_rpc_handlers([handler])
        server.add_insecure_port(target)
        await server.start()
        pipe.send("serving")
        await server.wait_for_termination()

    asyncio.run(serve())
