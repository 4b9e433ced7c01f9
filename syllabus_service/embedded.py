"""A service for one curriculum object: in an event loop, and as a process that ends with its parent."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sys
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import cloudpickle

from syllabus_service.allocator import give_large_arrays_back
from syllabus_service.curricula import Curriculum
from syllabus_service.engine import LocalEngine
from syllabus_service.logs import configure_logs
from syllabus_service.server import Server, ServerSettings

_PARENT_POLL_SECONDS = 0.2
_GRACE_SECONDS = 2.0  # for what is under way when the service ends


@asynccontextmanager
async def serving(curriculum: Curriculum, *, name: str, listen: str, lease: float) -> AsyncIterator[Server]:
    """Serve a curriculum object within the block. It is not stored: it ends with the block.

    Args:
        curriculum: the service owns it from now on.
        name: the name that it is served under.
        listen: ``unix:PATH`` or ``HOST:PORT``; port 0 chooses a free one.
        lease: seconds that a worker may stay silent before its assignments are abandoned.
    """
    async with LocalEngine() as engine:
        engine.host(name, curriculum, lease_seconds=lease)
        settings = ServerSettings(grace_seconds=_GRACE_SECONDS)
        async with Server(engine, listen=[listen], settings=settings) as server:
            yield server


def main(header: dict[str, Any]) -> None:
    """Run the process that ``EmbeddedProcess`` starts.

    Args:
        header: from the first line of standard input; the pickled curriculum, ``size`` bytes, follows it.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent's business: workers still report after a Ctrl-C
    configure_logs("console", "warning")
    give_large_arrays_back()
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
