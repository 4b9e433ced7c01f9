"""A service for one curriculum object: in an event loop, in a thread, and as a process that ends with its parent."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sys
import threading
import traceback
from collections.abc import AsyncIterator
from concurrent.futures import Future
from contextlib import asynccontextmanager
from typing import Any

import cloudpickle

from syllabus_service.curricula import Curriculum
from syllabus_service.engine import LocalEngine
from syllabus_service.logs import configure_logs
from syllabus_service.server import Server, ServerSettings

_PARENT_POLL_SECONDS = 0.2
_GRACE_SECONDS = 2.0  # for what is under way when the service ends


@asynccontextmanager
async def serving(
    curriculum: Curriculum, *, name: str, listen: str, lease: float, insecure: bool = False
) -> AsyncIterator[Server]:
    """Serve a curriculum object within the block. It is not stored: it ends with the block.

    Args:
        curriculum: the service owns it from now on.
        name: the name that it is served under.
        listen: ``unix:PATH`` or ``HOST:PORT``; port 0 chooses a free one.
        lease: seconds that a worker may stay silent before its assignments are abandoned.
        insecure: whether ``listen`` may be reachable from other machines.
    """
    async with LocalEngine() as engine:
        engine.host(name, curriculum, lease_seconds=lease)
        settings = ServerSettings(grace_seconds=_GRACE_SECONDS)
        async with Server(engine, listen=[listen], insecure=insecure, settings=settings) as server:
            yield server


class EmbeddedThread:
    """Serves a curriculum object from a thread of this process, until stopped. For hosts such as a Ray actor.

    Args: as of ``serving``.

    Attributes:
        address: where it listens, with the port that was taken.
    """

    def __init__(self, curriculum: Curriculum, *, name: str, listen: str, lease: float, insecure: bool = False) -> None:
        self._started: Future[str] = Future()
        self._stopping = asyncio.Event()
        self._loop = asyncio.new_event_loop()
        arguments = {"name": name, "listen": listen, "lease": lease, "insecure": insecure}
        self._thread = threading.Thread(
            target=self._run, args=(curriculum, arguments), name="embedded-service", daemon=True
        )
        self._thread.start()
        self.address = self._started.result()

    def stop(self) -> None:
        """End the service. Blocks until it has ended."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()

    def _run(self, curriculum: Curriculum, arguments: dict[str, Any]) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            try:
                runner.run(self._serve(curriculum, arguments))
            except BaseException as error:
                if self._started.done():
                    raise
                self._started.set_exception(error)

    async def _serve(self, curriculum: Curriculum, arguments: dict[str, Any]) -> None:
        async with serving(curriculum, **arguments) as server:
            self._started.set_result(server.addresses[0])
            await self._stopping.wait()


def main(header: dict[str, Any]) -> None:
    """Run the process that ``EmbeddedProcess`` starts.

    Args:
        header: from the first line of standard input; the pickled curriculum, ``size`` bytes, follows it.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent's business: workers still report after a Ctrl-C
    configure_logs("console", "warning")
    try:
        curriculum = cloudpickle.loads(sys.stdin.buffer.read(header["size"]))
        asyncio.run(_serve_until_over(curriculum, header))
    except Exception:  # noqa: BLE001 - whatever it is, the parent raises it
        _tell_parent(header, {"error": traceback.format_exc()})
        sys.exit(1)
    finally:
        shutil.rmtree(header["directory"], ignore_errors=True)


async def _serve_until_over(curriculum: Curriculum, header: dict[str, Any]) -> None:
    loop = asyncio.get_running_loop()
    over = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, over.set)
    watch = asyncio.create_task(_watch_parent(header["parent_pid"], over))
    async with serving(curriculum, name=header["name"], listen=header["address"], lease=header["lease"]):
        _tell_parent(header, {})
        await over.wait()
    watch.cancel()


def _tell_parent(header: dict[str, Any], message: dict[str, Any]) -> None:
    """Write the one line that the parent waits for."""
    fd, header["ready_fd"] = header["ready_fd"], None
    if fd is None:  # it was told already, and has gone on
        traceback.print_exc()
        return
    try:
        os.write(fd, json.dumps(message).encode() + b"\n")
    except BrokenPipeError:  # it does not wait any more; its end is noticed
        return
    finally:
        os.close(fd)


async def _watch_parent(parent_pid: int, over: asyncio.Event) -> None:
    """Set ``over`` when the parent process ends, however it does.

    Not PR_SET_PDEATHSIG, which follows the thread that started this process, nor the end of a pipe, which any child
    that the parent forked may hold open.
    """
    try:
        parent = os.pidfd_open(parent_pid)
    except (AttributeError, OSError):  # not Linux, or an old kernel, or the parent is gone
        while os.getppid() == parent_pid:
            await asyncio.sleep(_PARENT_POLL_SECONDS)
        over.set()
        return
    loop = asyncio.get_running_loop()
    try:
        if os.getppid() == parent_pid:  # the descriptor is the parent's, not a later process's of that number
            ended = asyncio.Event()
            loop.add_reader(parent, ended.set)
            await ended.wait()
        over.set()
    finally:
        loop.remove_reader(parent)
        os.close(parent)
