"""CurriculumActor: the Ray actor that one curriculum lives in."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from pathlib import Path
from typing import Any

import structlog

from syllabus_service.allocator import give_large_arrays_back
from syllabus_service.authorization import Authorizer
from syllabus_service.commands import Command, check_name
from syllabus_service.engine import LocalEngine, store_refusals
from syllabus_service.errors import Aborted, FailedPrecondition, NotFound, RequestError, Unavailable
from syllabus_service.logs import configure_logs
from syllabus_service.ray_engine import calls_pb2 as calls
from syllabus_service.ray_engine.encoding import decode_question, encode_measures, encode_refusal, encode_reply
from syllabus_service.ray_engine.settings import FORSAKEN_SECONDS, PROTOCOL, Given, Stored, deaf_seconds
from syllabus_service.rpc import as_refusal
from syllabus_service.runner import CurriculumRunner
from syllabus_service.server import Server, ServerSettings
from syllabus_service.sessions import Reply
from syllabus_service.store import (
    Durability,
    Store,
    StoreError,
    StoreFencedError,
    StoreUnavailableError,
    open_store,
)
from syllabus_service.tokens import Token, TokenFile, Tokens, make_token

_log = structlog.get_logger(__name__)

_GRACE_SECONDS = 2.0  # for what is under way when the service ends
_LAST_WORDS_SECONDS = 0.5  # for answers to leave before the process ends


class CurriculumActor:
    """One curriculum, in a process that Ray places, starts again where it died, and finds by name.

    Front doors call it with batches of what has queued up in them (``call``); it can also be a door itself
    (``address``). A curriculum of a store is recovered from there when it is first asked for, so that an actor that Ray
    has started again goes on where the journal ends; a curriculum object is served from the first call on.

    Two lives of an actor may overlap: the node of the first was cut off, and Ray has started another. The store's fence
    keeps the first one from writing, and then it ends.

    Which front door has a session's newest stream is known here, and only here: commands of its older streams are
    refused, wherever they still come from. It is not part of the state. After a restart no session is attached, so
    that every stream is opened anew before it goes on.

    Of a front door that speaks another protocol, or would have made it with other settings, it takes nothing, and tells
    it what it was made with: see ``ActorCalls``.

    Args:
        name: of the curriculum.
        source: where it comes from.
    """

    def __init__(self, name: str, source: Stored | Given) -> None:
        configure_logs("json", "info" if isinstance(source, Stored) else "warning")
        give_large_arrays_back()
        self._name = check_name(name, "name")
        self._source = source
        self._settings = source.settings if isinstance(source, Stored) else ""
        self._opening = asyncio.Lock()
        self._engine: LocalEngine | None = None
        self._store: Store | None = None
        self._server: Server | None = None
        self._token = ""
        self._doors: dict[str, str] = {}  # of the sessions that are attached; the last that was attached comes last
        self._called_at = time.monotonic()
        self._deaf_seconds = deaf_seconds(0.0)
        self._away = asyncio.Event()

    # Called by way of Ray

    async def ping(self) -> None:
        """Answer, as long as the process is at work."""

    async def call(self, request: bytes) -> bytes:
        """Do what a front door asks: a serialized ``Call``, answered by a serialized ``Answer``."""
        call, answer = calls.Call.FromString(request), calls.Answer()
        if (maker := self._unlike(call)) is not None:
            answer.maker.CopyFrom(maker)
            return answer.SerializeToString()
        self._called_at = time.monotonic()
        try:
            await self._do(call, answer)
        except Exception as error:  # noqa: BLE001 - what nobody expected is logged, and the front door is told
            refusal = as_refusal(error, "call", curriculum=self._name)
            answer.refusal.CopyFrom(encode_refusal(refusal))
        return answer.SerializeToString()

    async def address(self) -> tuple[str, str]:
        """Where the actor is its own front door, and the token that it asks for: whoever can ask Ray, may call it.

        It listens on a free port of its node's address, without TLS.

        Raises AddressError, and what ``LocalEngine.host`` raises.
        """
        engine = await self._open()
        async with self._opening:
            if self._server is None:
                token, entry = make_token("ray", "admin")
                server = Server(
                    engine,
                    listen=[f"{self._host_address()}:0"],
                    authorizer=Authorizer(_OneToken(entry), limits=engine.limits),
                    insecure=True,
                    settings=ServerSettings(grace_seconds=_GRACE_SECONDS),
                )
                await server.start()
                self._server, self._token = server, token
        return self._server.addresses[0], self._token

    async def stop(self) -> None:
        """Answer what is under way, and end the service."""
        async with self._opening:
            server, self._server = self._server, None
            if server is not None:
                await server.stop()
        await self._close()

    # Calls

    def _unlike(self, call: calls.Call) -> calls.Maker | None:
        """What this actor was made with, where that is not what the front door would have made it with."""
        source = self._source
        if isinstance(source, Given) or (call.protocol, call.settings) == (PROTOCOL, self._settings):
            return None
        forsaken = time.monotonic() - self._called_at > FORSAKEN_SECONDS
        return calls.Maker(protocol=PROTOCOL, settings=self._settings, epoch=source.epoch, forsaken=forsaken)

    async def _do(self, call: calls.Call, answer: calls.Answer) -> None:
        engine = await self._open(answer)
        if call.HasField("delete"):  # also of one that cannot be recovered, or is half deleted
            await self._delete(engine, call.incarnation)
            return
        curriculum = await engine.get(self._name)
        if call.incarnation not in (0, curriculum.incarnation):
            raise NotFound(f"curriculum: {self._name!r} was created anew", field="curriculum")
        match call.WhichOneof("call"):
            case "exchange":
                await self._exchange(call.door, curriculum, call.exchange, answer)
            case "question":
                found = await curriculum.ask(decode_question(call.question))
                answer.message = found.SerializeToString()
            case _:
                answer.description.incarnation = curriculum.incarnation
                answer.description.requires_step_updates = curriculum.requires_step_updates
        answer.position = curriculum.committed
        if (standing := curriculum.refusal) is not None:
            answer.standing.CopyFrom(encode_refusal(standing))

    async def _delete(self, engine: LocalEngine, incarnation: int) -> None:
        """Delete the curriculum, if it is the one that is meant. The store says which it is: a broken one cannot."""
        if self._store is not None:
            with store_refusals():
                stored = await asyncio.to_thread(self._store.list_curricula)
            if (self._name, incarnation) not in [(each.name, each.incarnation) for each in stored]:
                raise NotFound(f"curriculum: {self._name!r} was deleted, or created anew", field="curriculum")
        await engine.delete(self._name)
        await self._close()

    # The curriculum

    async def _open(self, answer: calls.Answer | None = None) -> LocalEngine:
        """The engine of this one curriculum, begun where it is not at work. Raises RequestError.

        ``answer`` says so where the store has no such curriculum.
        """
        async with self._opening:
            if self._engine is None:
                if isinstance(self._source, Given):
                    await self._host(self._source)
                else:
                    try:
                        await self._recover(self._source)
                    except NotFound:
                        if answer is not None:
                            answer.absent = True
                        raise
            engine = self._engine
        if engine is None:
            raise Unavailable(f"curriculum {self._name} is being stopped")
        return engine

    def _host_address(self) -> str:
        import ray.util

        given = self._source.host if isinstance(self._source, Given) else None
        host = given or ray.util.get_node_ip_address()
        return f"[{host}]" if ":" in host else host

    async def _host(self, given: Given) -> None:
        import cloudpickle

        engine = LocalEngine()
        await engine.start()
        engine.host(self._name, cloudpickle.loads(given.pickled), lease_seconds=given.lease_seconds)
        self._engine = engine

    async def _recover(self, stored: Stored) -> None:
        def can_hear() -> bool:
            return time.monotonic() - self._called_at < self._deaf_seconds

        self._called_at = time.monotonic()
        store: Store | None = None
        try:
            store = await asyncio.to_thread(open_store, stored.store, Durability(stored.durability))
            engine = LocalEngine(store, limits=stored.limits, only=self._name, can_hear=can_hear)
            await engine.start()
        except BaseException as error:
            if store is not None:
                await asyncio.to_thread(store.close)
            if isinstance(error, StoreUnavailableError):
                raise Unavailable(f"curriculum {self._name} cannot be recovered now: {error}") from error
            if isinstance(error, StoreFencedError):
                self._end("taken over while it was recovered")
                raise Unavailable(f"curriculum {self._name} was taken over by another actor") from error
            if isinstance(error, StoreError):
                raise FailedPrecondition(str(error)) from error
            raise
        engine.on_available_change(self._availability_changed)
        self._engine, self._store = engine, store
        try:
            self._deaf_seconds = deaf_seconds((await engine.get(self._name)).lease_seconds)
        except NotFound:
            await self._close()
            raise
        except FailedPrecondition:  # it cannot be recovered: told to whoever asks, until it is deleted
            return

    async def _close(self) -> None:
        engine, self._engine = self._engine, None
        store, self._store = self._store, None
        if engine is not None:
            await engine.stop()
        if store is not None:
            await asyncio.to_thread(store.close)

    def _availability_changed(self) -> None:
        if self._engine is None:
            return
        if self._engine.available:
            self._away.clear()
        else:
            self._away.set()
            with contextlib.suppress(NotFound, FailedPrecondition):  # it is being deleted, or half deleted
                if self._engine.is_taken_over(self._name):
                    self._end("taken over")

    def _end(self, reason: str) -> None:
        """End this process, at once as far as Ray is concerned; where it is still the actor, Ray starts it again."""
        _log.error("actor_ends", curriculum=self._name, reason=reason)
        asyncio.get_running_loop().call_later(_LAST_WORDS_SECONDS, os._exit, 1)

    # Exchanges

    async def _exchange(
        self, door: str, curriculum: CurriculumRunner, exchange: calls.Exchange, answer: calls.Answer
    ) -> None:
        for session_id in exchange.heard:
            curriculum.touch(session_id)
        pending: list[asyncio.Future[Any]] = []
        for item in exchange.items:
            try:
                pending.append(await self._take(door, curriculum, item))
            except Exception as error:  # noqa: BLE001 - it is this item's alone; what nobody expected is logged
                pending.append(_failed(as_refusal(error, "exchange", curriculum=self._name)))
        for session_id in exchange.detached:
            if self._doors.get(session_id) == door:
                del self._doors[session_id]
        if exchange.measure:
            answer.measures.CopyFrom(encode_measures(curriculum.readings()))
        if not pending:
            return
        # While the store is away, front doors are told at once, so that their clients are. What was taken is committed
        # all the same once the store is back, and recognised when it is sent again.
        together = asyncio.gather(*pending, return_exceptions=True)
        away = asyncio.ensure_future(self._away.wait())
        both: set[asyncio.Future[Any]] = {together, away}
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        away.cancel()
        for future in pending:
            _put_outcome(answer.outcomes.add(), future, curriculum)

    async def _take(self, door: str, curriculum: CurriculumRunner, item: calls.Item) -> asyncio.Future[Any]:
        match item.WhichOneof("item"):
            case "streamed":
                command = Command.from_record(item.streamed, curriculum.task_space)
                self._check_attached(command.session_id, door)
                return await curriculum.enqueue(command)
            case "single":
                return await curriculum.enqueue(Command.from_record(item.single, curriculum.task_space))
            case _:
                self._attach(item.attach, door, curriculum)
                return asyncio.ensure_future(curriculum.attach(item.attach))

    def _attach(self, session_id: str, door: str, curriculum: CurriculumRunner) -> None:
        before = self._doors.pop(session_id, door)
        if before != door:
            _log.info("session_moved", curriculum=self._name, session_id=session_id)
        self._doors[session_id] = door
        if self._engine is not None and len(self._doors) > self._engine.limits.max_sessions:
            del self._doors[next(iter(self._doors))]  # it opens its stream again

    def _check_attached(self, session_id: str, door: str) -> None:
        attached = self._doors.get(session_id)
        if attached is None:
            raise Unavailable(f"session {session_id!r} is not attached: the curriculum's actor was started again")
        if attached != door:
            raise Aborted(f"session {session_id!r} has opened a newer stream at another front door")


class _OneToken(TokenFile):
    """A token that is in no file, and does not change."""

    def __init__(self, token: Token) -> None:
        self.path = Path("of the actor's own")
        self.tokens = Tokens(tokens=[token])

    def reload(self) -> bool:
        return False


def _failed(refusal: RequestError) -> asyncio.Future[Any]:
    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    future.set_exception(refusal)
    return future


def _put_outcome(outcome: calls.Outcome, future: asyncio.Future[Reply | int], curriculum: CurriculumRunner) -> None:
    if not future.done():
        unknown = curriculum.refusal or Unavailable("the curriculum cannot be made durable now")
        outcome.refusal.CopyFrom(encode_refusal(unknown))
    elif (error := future.exception()) is not None:
        if not isinstance(error, Exception):
            raise error
        outcome.refusal.CopyFrom(encode_refusal(as_refusal(error, "exchange", curriculum=curriculum.name)))
    elif isinstance(result := future.result(), int):
        outcome.applied_sequence = result
    else:
        outcome.reply.CopyFrom(encode_reply(result))
