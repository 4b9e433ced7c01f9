"""A bare grpc.aio server that answers bytes with bytes: what gRPC in Python costs before anything is done."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import grpc

SERVICE = "benchmark.Echo"


def echo_handler(stream_reply: bytes = b"") -> grpc.GenericRpcHandler:
    """``Unary`` answers with the request's bytes, ``Stream`` each message with ``stream_reply``."""

    async def unary(request: bytes, context: Any) -> bytes:
        return request

    async def stream(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        async for _ in requests:
            yield stream_reply

    return grpc.method_handlers_generic_handler(
        SERVICE,
        {"Unary": grpc.unary_unary_rpc_method_handler(unary), "Stream": grpc.stream_stream_rpc_method_handler(stream)},
    )


@contextlib.contextmanager
def echo_server(stream_reply: bytes) -> Iterator[tuple[str, int]]:
    """A server with ``echo_handler`` in a process of its own, on a Unix socket: its target and process id."""
    directory = Path(tempfile.mkdtemp(prefix="bench-"))
    target = f"unix:{directory / 'socket'}"
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, target, stream_reply), daemon=True)
    process.start()
    ours.recv()
    try:
        yield target, process.pid or 0
    finally:
        process.kill()
        process.join()
        shutil.rmtree(directory, ignore_errors=True)


def _serve(pipe: Connection, target: str, stream_reply: bytes) -> None:
    async def serve() -> None:
        server = grpc.aio.server(options=[("grpc.max_receive_message_length", -1)])
        server.add_generic_rpc_handlers([echo_handler(stream_reply)])
        server.add_insecure_port(target)
        await server.start()
        pipe.send("serving")
        await server.wait_for_termination()

    asyncio.run(serve())
