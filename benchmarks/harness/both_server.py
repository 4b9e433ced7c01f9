"""The service with a bare echo beside it on the same gRPC server, in a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from benchmarks.harness.echo import echo_handler
from syllabus_service.engine import LocalEngine
from syllabus_service.logs import configure_logs
from syllabus_service.server import Server
from syllabus_service.store import SqliteStore


@dataclass(frozen=True)
class BothServer:
    """Where it is."""

    target: str
    pid: int


@contextlib.contextmanager
def both_server(data_dir: Path | None) -> Iterator[BothServer]:
    """Such a server. The curricula are kept in ``data_dir``, or nowhere."""
    directory = Path(tempfile.mkdtemp(prefix="bench-"))
    target = f"unix:{directory / 'socket'}"
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, target, data_dir), daemon=True)
    process.start()
    ours.recv()
    try:
        yield BothServer(target, process.pid or 0)
    finally:
        process.kill()
        process.join()
        shutil.rmtree(directory, ignore_errors=True)


def _serve(pipe: Connection, target: str, data_dir: Path | None) -> None:
    async def serve(store: SqliteStore | None) -> None:
        async with LocalEngine(store) as engine, Server(engine, listen=[target]) as server:
            # A server takes handlers while it serves, too; Server has no other use for strangers'.
            server._server.add_generic_rpc_handlers([echo_handler()])
            pipe.send("serving")
            await asyncio.Event().wait()

    configure_logs("console", "warning")
    if data_dir is None:
        asyncio.run(serve(None))
    else:
        with SqliteStore(data_dir) as store:
            asyncio.run(serve(store))
