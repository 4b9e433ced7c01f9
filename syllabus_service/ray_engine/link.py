"""RayLink: a front door's way to Ray, which is a process of its own; it is started again whenever it ends."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import sys
from asyncio.subprocess import Process
from collections.abc import Callable
from dataclasses import asdict

import structlog

from syllabus_service.errors import Unavailable
from syllabus_service.ray_engine.frames import Frame, Kind
from syllabus_service.ray_engine.settings import CALL_SECONDS, RayCluster, Stored

_log = structlog.get_logger(__name__)

_FIRST_RETRY_SECONDS = 0.2
_LONGEST_RETRY_SECONDS = 5.0
_STOP_SECONDS = 5.0
_LONGEST_CALL_SECONDS = CALL_SECONDS + 5.0  # the process keeps CALL_SECONDS; it may be the one that hangs
_RECONNECT = "RAY_gcs_rpc_server_reconnect_timeout_s"  # then Ray ends the process that has lost its head
_RECONNECT_SECONDS = "10"


class RayLink:
    """Calls the actors of curricula. Used from one event loop.

    Ray's driver is kept in a child process, because it ends its process when the cluster's head is gone for some
    seconds, and because it would take a front door's interpreter for each call. While there is no link, every call
    raises Unavailable at once.

    Args:
        cluster: where Ray is.
        source: what the actors are made from.
    """

    def __init__(self, cluster: RayCluster, source: Stored) -> None:
        self._hello = json.dumps({"cluster": asdict(cluster), "source": asdict(source)}).encode()
        self._calls: dict[int, asyncio.Future[bytes]] = {}
        self._next = 0
        self._writer: asyncio.StreamWriter | None = None
        self._running: asyncio.Task[None] | None = None
        self._listeners: list[Callable[[], None]] = []
        self._why = "its driver is being started"

    @property
    def refusal(self) -> Unavailable | None:
        """Why every call is refused now, or None."""
        return Unavailable(f"Ray cannot be reached now: {self._why}") if self._writer is None else None

    def on_change(self, listener: Callable[[], None]) -> None:
        """Call ``listener`` in the loop whenever Ray was lost or found."""
        self._listeners.append(listener)

    def start(self) -> None:
        """Look for Ray, now and whenever it is lost."""
        self._running = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """End the process. Calls under way are refused."""
        running, self._running = self._running, None
        if running is not None:
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running

    async def call(self, curriculum: str, request: bytes) -> bytes:
        """What the actor of a curriculum answers; it is made where there is none.

        Raises Unavailable where there is no answer within a minute: whether the call took place is not known then.
        """
        return await self._ask(Kind.CALL, curriculum, request)

    async def forget(self, curriculum: str) -> None:
        """End the actor of a curriculum for good, if there is one. Raises Unavailable."""
        await self._ask(Kind.FORGET, curriculum, b"")

    async def _ask(self, kind: Kind, curriculum: str, request: bytes) -> bytes:
        writer = self._writer
        if writer is None:
            raise self.refusal or Unavailable("Ray cannot be reached now")
        self._next += 1
        number, future = self._next, asyncio.get_running_loop().create_future()
        self._calls[number] = future
        try:
            Frame(kind, number, curriculum, request).write(writer)
            async with asyncio.timeout(_LONGEST_CALL_SECONDS):
                return await future
        except TimeoutError as error:
            raise Unavailable(f"Ray's driver has not answered for {_LONGEST_CALL_SECONDS:g} s") from error
        finally:
            self._calls.pop(number, None)

    # The process

    async def _run(self) -> None:
        delay = _FIRST_RETRY_SECONDS
        while True:
            try:
                if await self._run_once():
                    delay = _FIRST_RETRY_SECONDS
            except Exception as error:  # noqa: BLE001 - no more processes, no more descriptors; or a bug: logged
                self._why = f"its driver was not started, or has failed: {error}"
                _log.exception("ray_link_failed")
            await asyncio.sleep(delay)
            delay = min(2 * delay, _LONGEST_RETRY_SECONDS)

    async def _run_once(self) -> bool:
        """Run one process to its end. Returns whether it has found Ray."""
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    "-m",
                    "syllabus_service.ray_engine.link_process",
                    str(theirs.fileno()),
                    pass_fds=[theirs.fileno()],
                    env={_RECONNECT: _RECONNECT_SECONDS, **os.environ},
                    start_new_session=True,  # a Ctrl-C at the terminal is the front door's business
                )
            reader, writer = await asyncio.open_connection(sock=ours)
        except BaseException:
            ours.close()
            raise
        try:
            return await self._talk(reader, writer)
        finally:
            self._lost()
            writer.close()
            await _end(process)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        found = False
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            Frame(Kind.READY, body=self._hello).write(writer)
            while True:
                frame = await Frame.read(reader)
                if frame.kind is Kind.READY:
                    found = True
                    self._writer, self._why = writer, "its driver has ended"
                    _log.info("ray_found")
                    self._changed()
                    continue
                if frame.kind is Kind.NO_RAY:
                    self._why = frame.body.decode(errors="replace")
                    _log.error("ray_not_found", reason=self._why)
                    continue
                future = self._calls.get(frame.number)
                if future is None or future.done():
                    continue
                if frame.kind is Kind.ANSWER:
                    future.set_result(frame.body)
                else:
                    future.set_exception(Unavailable(frame.body.decode()))
        return found

    def _lost(self) -> None:
        was, self._writer = self._writer, None
        for future in self._calls.values():
            if not future.done():
                future.set_exception(Unavailable(f"Ray was lost: {self._why}"))
        if was is not None:
            _log.error("ray_lost", reason=self._why)
            self._changed()

    def _changed(self) -> None:
        for listener in self._listeners:
            listener()


async def _end(process: Process) -> None:
    """Wait for a process that has lost its front door, and end it if need be."""
    try:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), _STOP_SECONDS)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
