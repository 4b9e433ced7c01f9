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
from syllabus_service.ray_engine.settings import CALL_SECONDS, RayCluster, Stored

_log = structlog.get_logger(__name__)

_LOOK_SECONDS = 5.0
_HEAD_SECONDS = 20.0
_PATIENCE_SECONDS = 15.0
"""An actor with a call unanswered for so long is asked whether it is at work, and has as long for an answer."""
_START_SECONDS = 120.0
"""The same for one that has not answered yet. It may be about to start, and waits for a node's CPU or for those before
it; whoever ended it meanwhile would have it begin anew."""
_MAX_CALLS = 1000
"""Most calls to one actor that have no answer, those that were given up included; it takes as many at a time."""


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
            async with asyncio.timeout(CALL_SECONDS):
                answer = await self._answer(frame)
        except TimeoutError:
            self._lost(frame, f"curriculum {frame.name} has given no answer for {CALL_SECONDS:g} s; see Ray's state")
        except _LostError as error:
            self._lost(frame, str(error))
        else:
            Frame(Kind.ANSWER, frame.number, body=answer).write(self._writer)

    async def _answer(self, frame: Frame) -> bytes:
        try:
            actor = await self._find(frame.name)
        except (RayError, ValueError, ConnectionError) as error:
            raise _LostError(f"curriculum {frame.name} has no actor now: {_in_one_line(error)}") from error
        if len(actor.calls) >= _MAX_CALLS:
            raise _LostError(f"the actor of curriculum {frame.name} has {_MAX_CALLS} calls to answer")
        # Where it is given up it goes on: Ray has it, and it counts until it has an answer.
        asking = asyncio.create_task(self._ask(frame, actor))
        asking.add_done_callback(_look_at_error)
        return await asyncio.shield(asking)

    async def _ask(self, frame: Frame, actor: _Actor) -> bytes:
        actor.calls[frame.number] = time.monotonic()
        try:
            answer = await actor.handle.call.remote(frame.body)
        except RayError as error:
            actor.heard = False
            if isinstance(error, ActorDiedError) and self._actors.get(frame.name) is actor:
                del self._actors[frame.name]
            raise _LostError(f"the actor of curriculum {frame.name} was lost: {_in_one_line(error)}") from error
        else:
            actor.heard = True
            return bytes(answer)
        finally:
            del actor.calls[frame.number]

    async def _forget(self, frame: Frame) -> None:
        try:
            async with asyncio.timeout(CALL_SECONDS):
                known = self._actors.pop(frame.name, None)
                handle = await asyncio.to_thread(self._look_up, frame.name) if known is None else known.handle
                if handle is not None:
                    await asyncio.to_thread(ray.kill, handle)
        except (TimeoutError, RayError, ConnectionError) as error:
            self._lost(frame, f"the actor of curriculum {frame.name} could not be ended: {_in_one_line(error)}")
        else:
            Frame(Kind.ANSWER, frame.number).write(self._writer)

    def _look_up(self, name: str) -> Any:
        """The actor of a curriculum, or None. It is of a front door whose answer was lost, or of another one."""
        try:
            return ray.get_actor(self._source.actor_name(name), namespace=self._cluster.namespace)
        except ValueError:
            return None

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
            "name": self._source.actor_name(name),
            "namespace": self._cluster.namespace,
            "get_if_exists": True,
            "lifetime": "detached",
            "max_restarts": -1,
            # A front door answers a lost call with UNAVAILABLE, and its client sends again. A call that Ray repeated
            # by itself would reach an actor that knows nothing of its streams.
            "max_task_retries": 0,
            "num_cpus": self._source.cpus,
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


class _LostError(Exception):
    """A call has no answer; says why."""


def _look_at_error(task: asyncio.Task[bytes]) -> None:
    """Nobody may be waiting any more."""
    if not task.cancelled():
        task.exception()


def _in_one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__


async def _wait_for_head(address: str, writer: asyncio.StreamWriter) -> None:
    """Wait until somebody listens at HOST:PORT; other addresses are Ray's to find."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        return
    told = False
    while True:
        try:
            _, there = await asyncio.open_connection(host.strip("[]"), int(port))
        except OSError as error:
            if not told:
                _tell_no_ray(writer, f"nobody answers at {address}: {_in_one_line(error)}")
                told = True
            await asyncio.sleep(0.5)
        else:
            there.close()
            return


def _tell_no_ray(writer: asyncio.StreamWriter, why: str) -> None:
    Frame(Kind.NO_RAY, body=why.encode()).write(writer)


async def _serve(descriptor: int) -> None:
    reader, writer = await asyncio.open_connection(sock=socket.socket(fileno=descriptor))
    hello = json.loads((await Frame.read(reader)).body)
    source = hello["source"]
    cluster, stored = RayCluster(**hello["cluster"]), Stored(**{**source, "limits": Limits(**source["limits"])})
    ended = asyncio.create_task(Frame.read(reader))
    waiting = asyncio.create_task(_wait_for_head(cluster.address, writer))
    await asyncio.wait({ended, waiting}, return_when=asyncio.FIRST_COMPLETED)
    if ended.done():
        return
    waiting.result()
    try:  # In the main thread, where Ray wants to handle signals; nothing else is under way yet.
        ray.init(address=cluster.address, namespace=cluster.namespace, log_to_driver=False, configure_logging=False)
    except Exception as error:  # noqa: BLE001 - no node here, another version of Ray or Python, ...: logged, and told
        _log.exception("ray_not_joined", address=cluster.address)
        _tell_no_ray(writer, f"cannot join the Ray cluster {cluster.address}: {_in_one_line(error)}")
        await writer.drain()
        return
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
    try:
        asyncio.run(_serve(int(descriptor)))
    except (asyncio.IncompleteReadError, BrokenPipeError, ConnectionResetError):  # the front door has ended
        pass
    except Exception:  # noqa: BLE001 - the process's last word
        _log.exception("ray_link_failed")
    os._exit(0)  # Ray would take its time to say goodbye


if __name__ == "__main__":
    main(*sys.argv[1:])
