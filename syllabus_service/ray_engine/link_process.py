"""The process between a front door and Ray: a driver that finds, makes and calls the actors of curricula."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import sys
import time
from dataclasses import dataclass, field
from typing import Any

import ray
import structlog
from ray.exceptions import ActorDiedError, RayError

from syllabus_service.limits import Limits
from syllabus_service.logs import configure_logs
from syllabus_service.ray_engine.actor import CurriculumActor
from syllabus_service.ray_engine.frames import Frame, Kind
from syllabus_service.ray_engine.settings import RayCluster, Stored

_log = structlog.get_logger(__name__)

_LOOK_SECONDS = 5.0
_HEAD_SECONDS = 20.0
_PATIENCE_SECONDS = 15.0
"""An actor with a call unanswered for so long is asked whether it is at work, and has as long for an answer."""
_START_SECONDS = 120.0
"""The same for one that has not answered yet. It may be about to start, and waits for a node's CPU or for those before
it; whoever ended it meanwhile would have it begin anew."""


@dataclass
class _Actor:
    """The actor of a curriculum, as far as it is known here."""

    handle: Any
    calls: dict[int, float] = field(default_factory=dict)
    """When each call began that is under way."""
    heard: bool = False
    """Whether it has answered since it was found, or lost."""
    patient_until: float = 0.0


class Driver:
    """Calls actors for one front door.

    Args:
        cluster: where Ray is.
        source: what actors are made from.
        writer: to the front door.
    """

    def __init__(self, cluster: RayCluster, source: Stored, writer: asyncio.StreamWriter) -> None:
        self._cluster = cluster
        self._source = source
        self._writer = writer
        self._actors: dict[str, _Actor] = {}
        self._finding: dict[str, asyncio.Task[_Actor]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def take(self, frame: Frame) -> None:
        """Do what the front door asks, meanwhile."""
        self.spawn(self._call(frame) if frame.kind is Kind.CALL else self._forget(frame))

    def spawn(self, coroutine: Any) -> None:
        """Run something to its end. An error that nobody expected ends the process."""
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("ray_link_failed", exc_info=error)
            os._exit(1)

    async def _call(self, frame: Frame) -> None:
        try:
            actor = await self._find(frame.name)
        except (RayError, ValueError, ConnectionError) as error:
            self._lost(frame, f"curriculum {frame.name} has no actor now: {_in_one_line(error)}")
            return
        actor.calls[frame.number] = time.monotonic()
        try:
            answer = await actor.handle.call.remote(frame.body)
        except RayError as error:
            actor.heard = False
            if isinstance(error, ActorDiedError) and self._actors.get(frame.name) is actor:
                del self._actors[frame.name]
            self._lost(frame, f"the actor of curriculum {frame.name} was lost: {_in_one_line(error)}")
        else:
            actor.heard = True
            Frame(Kind.ANSWER, frame.number, body=answer).write(self._writer)
        finally:
            del actor.calls[frame.number]

    async def _forget(self, frame: Frame) -> None:
        actor = self._actors.pop(frame.name, None)
        if actor is not None:
            await asyncio.to_thread(ray.kill, actor.handle)
        Frame(Kind.ANSWER, frame.number).write(self._writer)

    def _lost(self, frame: Frame, why: str) -> None:
        _log.warning("call_lost", curriculum=frame.name, reason=why)
        Frame(Kind.LOST, frame.number, body=why.encode()).write(self._writer)

    async def _find(self, name: str) -> _Actor:
        """The actor of a curriculum; of those who would make it at the same time, one does."""
        if (known := self._actors.get(name)) is not None:
            return known
        if name not in self._finding:
            self._finding[name] = asyncio.create_task(self._make(name))
        try:
            return await asyncio.shield(self._finding[name])
        finally:
            if (finding := self._finding.get(name)) is not None and finding.done():
                del self._finding[name]

    async def _make(self, name: str) -> _Actor:
        options: dict[str, Any] = {
            "name": f"curriculum:{name}",
            "namespace": self._cluster.namespace,
            "get_if_exists": True,
            "lifetime": "detached",
            "max_restarts": -1,
            # A front door answers a lost call with UNAVAILABLE, and its client sends again. A call that Ray repeated
            # by itself would reach an actor that knows nothing of its streams.
            "max_task_retries": 0,
            "num_cpus": self._cluster.cpus_per_curriculum,
            "scheduling_strategy": "SPREAD",
        }
        actor_class = ray.remote(concurrency_groups={"control": 16})(CurriculumActor).options(**options)
        handle = await asyncio.to_thread(actor_class.remote, name, self._source)
        actor = self._actors[name] = _Actor(handle)
        return actor

    # Looking after things

    async def watch_actors(self) -> None:
        """Have Ray start actors again whose process is there and does not answer."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            now = time.monotonic()
            for name, actor in list(self._actors.items()):
                oldest = min(actor.calls.values(), default=now)
                patience = _PATIENCE_SECONDS if actor.heard else _START_SECONDS
                if now - oldest > patience and now > actor.patient_until:
                    actor.patient_until = now + 4 * _PATIENCE_SECONDS
                    self.spawn(self._ask_whether_at_work(name, actor))

    async def _ask_whether_at_work(self, name: str, actor: _Actor) -> None:
        ping = actor.handle.ping.options(concurrency_group="control").remote()
        try:
            await asyncio.wait_for(asyncio.wrap_future(ping.future()), _PATIENCE_SECONDS)
            actor.heard = True
        except TimeoutError:
            _log.error("actor_does_not_answer", curriculum=name)
            with contextlib.suppress(RayError, ValueError):
                await asyncio.to_thread(ray.kill, actor.handle, no_restart=False)
            actor.heard = False
        except RayError as error:  # it is not there: its calls are told
            actor.heard = False
            _log.warning("actor_away", curriculum=name, error=_in_one_line(error))

    async def watch_cluster(self) -> None:
        """End this process where the cluster has forgotten its node, or its head is silent: the next one looks anew."""
        node = ray.get_runtime_context().get_node_id()
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            try:
                nodes = await asyncio.wait_for(asyncio.to_thread(ray.nodes), _HEAD_SECONDS)
            except (RayError, TimeoutError, ConnectionError) as error:
                _log.error("ray_head_silent", error=_in_one_line(error))
                os._exit(1)
            if not any(each["NodeID"] == node and each["Alive"] for each in nodes):
                _log.error("ray_node_lost", node=node)
                os._exit(1)


def _in_one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__


async def _wait_for_head(address: str) -> None:
    """Wait until somebody listens at HOST:PORT; other addresses are Ray's to find."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        return
    while True:
        try:
            _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
        except OSError:
            await asyncio.sleep(0.5)
        else:
            writer.close()
            return


async def _serve(descriptor: int) -> None:
    reader, writer = await asyncio.open_connection(sock=socket.socket(fileno=descriptor))
    hello = json.loads((await Frame.read(reader)).body)
    source = hello["source"]
    cluster, stored = RayCluster(**hello["cluster"]), Stored(**{**source, "limits": Limits(**source["limits"])})
    ended = asyncio.create_task(Frame.read(reader))
    waiting = asyncio.create_task(_wait_for_head(cluster.address))
    await asyncio.wait({ended, waiting}, return_when=asyncio.FIRST_COMPLETED)
    if ended.done():
        return
    # In the main thread, where Ray wants to handle signals; nothing else is under way yet.
    ray.init(address=cluster.address, namespace=cluster.namespace, log_to_driver=False, configure_logging=False)
    driver = Driver(cluster, stored, writer)
    driver.spawn(driver.watch_actors())
    driver.spawn(driver.watch_cluster())
    Frame(Kind.READY).write(writer)
    frame = await ended
    while True:
        driver.take(frame)
        frame = await Frame.read(reader)


def main(descriptor: str) -> None:
    """Serve the front door at the other end of a socket until that ends, or until Ray does."""
    configure_logs("json", "info")
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        asyncio.run(_serve(int(descriptor)))
    os._exit(0)  # Ray would take its time to say goodbye


if __name__ == "__main__":
    main(*sys.argv[1:])
