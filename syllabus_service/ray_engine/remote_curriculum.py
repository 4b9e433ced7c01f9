"""RemoteCurriculum: a curriculum as a front door sees it; what queues up during one call goes with the next."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import Message

from syllabus_client.task_spaces import TaskSpace
from syllabus_client.wire import curriculum_pb2 as pb
from syllabus_service.commands import Command
from syllabus_service.errors import NotFound, RequestError, Unavailable
from syllabus_service.metrics.runner_tallies import Readings
from syllabus_service.ray_engine import calls_pb2 as calls
from syllabus_service.ray_engine.actor_calls import ActorCalls
from syllabus_service.ray_engine.encoding import (
    decode_answer,
    decode_measures,
    decode_refusal,
    decode_reply,
    encode_question,
)
from syllabus_service.ray_engine.settings import beat_seconds, deaf_seconds
from syllabus_service.room import Room
from syllabus_service.rpc import as_refusal
from syllabus_service.sessions import Reply
from syllabus_service.specs import lease_seconds

_MAX_QUEUED_ITEMS = 4096
_MAX_QUEUED_BYTES = 128 << 20
_MAX_ITEMS_PER_CALL = 1024
_MAX_BYTES_PER_CALL = 16 << 20


@dataclass(frozen=True)
class _Queued:
    item: calls.Item
    size: int
    future: asyncio.Future[Any]


class RemoteCurriculum:
    """Stands in for ``CurriculumRunner`` in a front door; see ``ServedCurriculum``.

    One exchange with the actor is under way at a time, so that what was queued is applied in order. All sessions of the
    front door share it: while it is under way, their commands queue up, and go together with the next, at most 1,024 of
    them and 16 MiB. The busier a front door, the more go with one call.

    Now and then, also where nothing is queued, the actor is told which sessions were heard, and tells what it counts.

    Args:
        name: the curriculum's name.
        spec: what it was made from.
        described: what its actor has said.
        actors: the way to the actor.
        unreachable: why no actor can be reached now, or None.
        exists: whether the store still has this curriculum; asked when a call was lost.
        on_end: called when it turns out that it was deleted.

    Attributes:
        trouble: why its actor could not be reached when it was last called, or takes no requests; None: it does.
    """

    def __init__(
        self,
        name: str,
        spec: pb.CurriculumSpec,
        described: calls.Answer,
        *,
        actors: ActorCalls,
        unreachable: Callable[[], Unavailable | None],
        exists: Callable[[], Coroutine[Any, Any, bool]],
        on_end: Callable[[RemoteCurriculum], None],
    ) -> None:
        self.name = name
        self.spec = spec
        self.incarnation = described.description.incarnation
        self.requires_step_updates = described.description.requires_step_updates
        self.task_space = TaskSpace.from_proto(spec.task_space)
        self.lease_seconds = lease_seconds(spec)
        self._actors = actors
        self._unreachable = unreachable
        self._exists = exists
        self._looking: asyncio.Task[bool] | None = None
        self._on_end = on_end
        self._ended: RequestError | None = None
        self.trouble: RequestError | None = None
        self._position = 0
        self._measured: tuple[float, int, calls.Measures] | None = None
        self._queue: deque[_Queued] = deque()
        self._room = Room(_MAX_QUEUED_ITEMS, _MAX_QUEUED_BYTES)
        self._heard: set[str] = set()
        self._detached: set[str] = set()
        self._beat_is_due = True
        self._pump: asyncio.Task[None] | None = None
        self._note(described)
        self._beat = asyncio.create_task(self._beat_forever())

    @property
    def refusal(self) -> RequestError | None:
        """Why every request is refused now, or None."""
        return self._ended or self._unreachable()

    @property
    def available(self) -> bool:
        """Whether the actor has answered when it was last called, and takes requests."""
        return self.refusal is None and self.trouble is None

    def readings(self) -> Readings | None:
        """See ``ServedCurriculum``."""
        if self._measured is None:
            return None
        heard_at, position, measures = self._measured
        if time.monotonic() - heard_at > deaf_seconds(self.lease_seconds):
            return None
        return decode_measures(measures, position)

    async def describe(self, *, with_task_space: bool = True) -> pb.Curriculum:
        """The curriculum as a message, with the newest position that this front door has heard of.

        In full it is not told before anything was heard of it; as one of many it never asks its actor.
        """
        if with_task_space and not self._position:
            await self.call(calls.Call(describe=calls.Describe()))
        message = pb.Curriculum(
            name=self.name,
            incarnation=self.incarnation,
            position=self._position,
            requires_step_updates=self.requires_step_updates,
            spec=self.spec,
        )
        if not with_task_space:
            message.spec.ClearField("task_space")
        return message

    async def attach(self, session_id: str) -> int:
        """See ``ServedCurriculum``."""
        attached = await self._put(calls.Item(attach=session_id))
        self._detached.discard(session_id)  # of an older stream, which this one follows
        return await attached

    def detach(self, session_id: str) -> None:
        """See ``ServedCurriculum``. It is told with the next exchange, and behind all that is queued."""
        self._detached.add(session_id)
        self._start_pump()

    async def enqueue(self, command: Command) -> asyncio.Future[Reply]:
        """See ``ServedCurriculum``."""
        return await self._put(calls.Item(streamed=command.to_record()))

    async def submit(self, command: Command) -> Reply:
        """See ``ServedCurriculum``."""
        return await (await self._put(calls.Item(single=command.to_record())))

    async def ask(self, question: Message) -> Message:
        """See ``ServedCurriculum``."""
        answer = await self.call(calls.Call(question=encode_question(question)))
        return decode_answer(question, answer.message)

    def touch(self, session_id: str) -> None:
        """See ``ServedCurriculum``. It is told with the next exchange."""
        self._heard.add(session_id)

    async def call(self, call: calls.Call) -> calls.Answer:
        """Call the actor. Raises the RequestError that it answers, and Unavailable where it does not."""
        self._check_serving()
        call.incarnation = self.incarnation
        try:
            answer = await self._actors.call(self.name, call)
        except Unavailable as refusal:
            self.trouble = refusal
            if not await self._still_exists():
                self.end(NotFound(f"curriculum: {self.name!r} was deleted", field="curriculum"))
                self._check_serving()
            raise
        except NotFound as refusal:
            if refusal.field == "curriculum":
                self.end(refusal)
            raise
        self._note(answer)
        return answer

    def _note(self, answer: calls.Answer) -> None:
        """What every answer tells."""
        self._position = max(self._position, answer.position)
        self.trouble = decode_refusal(answer.standing) if answer.HasField("standing") else None
        if answer.HasField("measures"):
            self._measured = (time.monotonic(), self._position, answer.measures)

    def end(self, refusal: RequestError) -> None:
        """Refuse every request from now on: the curriculum was deleted, or the front door ends."""
        if self._ended is not None:
            return
        self._ended = refusal
        self._beat.cancel()
        self._on_end(self)
        self._start_pump()

    async def finish(self) -> None:
        """Wait for what is under way."""
        if self._pump is not None:
            await self._pump
        with contextlib.suppress(asyncio.CancelledError):
            await self._beat

    async def _still_exists(self) -> bool:
        """Whether it was not deleted, by another front door. All who have lost a call ask the store together."""
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._exists())
        return await asyncio.shield(self._looking)

    def _check_serving(self) -> None:
        if (refusal := self.refusal) is not None:
            raise refusal

    # The queue

    async def _put(self, item: calls.Item) -> asyncio.Future[Any]:
        self._check_serving()
        size = item.ByteSize()
        await self._room.enter(size)
        if (refusal := self.refusal) is not None:
            self._room.leave(1, size)
            raise refusal
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._queue.append(_Queued(item, size, future))
        self._start_pump()
        return future

    def _start_pump(self) -> None:
        if self._pump is None:
            self._pump = asyncio.create_task(self._exchange_until_empty())

    async def _exchange_until_empty(self) -> None:
        try:
            while self._queue or (self._ended is None and (self._heard or self._detached or self._beat_is_due)):
                await self._exchange(self._take())
        finally:
            self._pump = None

    def _take(self) -> list[_Queued]:
        taken: list[_Queued] = []
        size = 0
        while self._queue and len(taken) < _MAX_ITEMS_PER_CALL and size < _MAX_BYTES_PER_CALL:
            taken.append(self._queue.popleft())
            size += taken[-1].size
        return taken

    async def _exchange(self, taken: list[_Queued]) -> None:
        """One exchange. Whatever becomes of it, all of ``taken`` is answered, and its room given back."""
        try:
            results = await self._results(taken)
        except Exception as error:  # noqa: BLE001 - what nobody expected is logged, and told to whoever waits
            self.trouble = as_refusal(error, "exchange", curriculum=self.name)
            results = [self.trouble] * len(taken)
        self._room.leave(len(taken), sum(each.size for each in taken))
        for each, result in zip(taken, results, strict=True):
            if each.future.done():  # its caller has gone
                continue
            if isinstance(result, RequestError):
                each.future.set_exception(result)
            else:
                each.future.set_result(result)

    async def _results(self, taken: list[_Queued]) -> list[Reply | int | RequestError]:
        heard, self._heard = self._heard, set()
        detached: set[str] = set()
        if not self._queue:  # or the stream that has ended might begin in what is still queued
            detached, self._detached = self._detached, detached
        measure, self._beat_is_due = self._beat_is_due, False
        items = [each.item for each in taken]
        exchange = calls.Exchange(items=items, heard=heard, detached=detached, measure=measure)
        outcomes = (await self.call(calls.Call(exchange=exchange))).outcomes
        if len(outcomes) != len(taken):
            raise ValueError(f"expected {len(taken)} outcomes, got {len(outcomes)}")
        return [_read(outcome) for outcome in outcomes]

    async def _beat_forever(self) -> None:
        """Have the actor know that its sessions can be heard, and which were; and tell what it counts."""
        while True:
            self._beat_is_due = True
            self._start_pump()
            await asyncio.sleep(beat_seconds(self.lease_seconds))


def _read(outcome: calls.Outcome) -> Reply | int | RequestError:
    match outcome.WhichOneof("outcome"):
        case "refusal":
            return decode_refusal(outcome.refusal)
        case "reply":
            return decode_reply(outcome.reply)
        case _:
            return int(outcome.applied_sequence)
