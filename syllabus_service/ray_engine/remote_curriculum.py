"""RemoteCurriculum: a curriculum as a front door sees it; what queues up during one call goes with the next."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import Message

from syllabus_client.task_spaces import TaskSpace
from syllabus_client.wire import curriculum_pb2 as pb
from syllabus_service.commands import Command
from syllabus_service.errors import FailedPrecondition, NotFound, RequestError, Unavailable
from syllabus_service.ray_engine import calls_pb2 as calls
from syllabus_service.ray_engine.encoding import decode_answer, decode_refusal, decode_reply, encode_question
from syllabus_service.ray_engine.link import RayLink
from syllabus_service.ray_engine.settings import beat_seconds
from syllabus_service.room import Room
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
    future: asyncio.Future[Any] | None


class RemoteCurriculum:
    """Stands in for ``CurriculumRunner`` in a front door; see ``ServedCurriculum``.

    One exchange with the actor is under way at a time, so that what was queued is applied in order. All sessions of the
    front door share it: while it is under way, their commands queue up, and go together with the next, at most 1,024 of
    them and 16 MiB. The busier a front door, the more go with one call.

    Args:
        name: the curriculum's name.
        spec: what it was made from.
        description: what its actor has said.
        door: identity of this front door.
        link: the way to the actor.
        exists: whether the store still has this curriculum; asked when a call was lost.
        on_end: called when it turns out that it was deleted.
    """

    def __init__(
        self,
        name: str,
        spec: pb.CurriculumSpec,
        description: calls.Description,
        *,
        door: str,
        link: RayLink,
        exists: Callable[[], Coroutine[Any, Any, bool]],
        on_end: Callable[[RemoteCurriculum], None],
    ) -> None:
        self.name = name
        self.spec = spec
        self.incarnation = description.incarnation
        self.requires_step_updates = description.requires_step_updates
        self.task_space = TaskSpace.from_proto(spec.task_space)
        self.lease_seconds = lease_seconds(spec)
        self._door = door
        self._link = link
        self._exists = exists
        self._looking: asyncio.Task[bool] | None = None
        self._on_end = on_end
        self._ended: RequestError | None = None
        self._position = 0
        self._queue: deque[_Queued] = deque()
        self._room = Room(_MAX_QUEUED_ITEMS, _MAX_QUEUED_BYTES)
        self._heard: set[str] = set()
        self._pump: asyncio.Task[None] | None = None
        self._beat = asyncio.create_task(self._beat_forever())

    @property
    def refusal(self) -> RequestError | None:
        """Why every request is refused now, or None."""
        return self._ended or self._link.refusal

    async def describe(self, *, with_task_space: bool = True) -> pb.Curriculum:
        """The curriculum as a message, with the newest position that this front door has heard of."""
        if not self._position:
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
        return await (await self._put(calls.Item(attach=session_id)))

    def detach(self, session_id: str) -> None:
        """See ``ServedCurriculum``."""
        if self._ended is None:
            self._queue.append(_Queued(calls.Item(detach=session_id), 0, None))
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
        call.door, call.incarnation = self._door, self.incarnation
        try:
            answer = calls.Answer.FromString(await self._link.call(self.name, call.SerializeToString()))
        except Unavailable:
            if not await self._still_exists():
                self.end(NotFound(f"curriculum: {self.name!r} was deleted", field="curriculum"))
                self._check_serving()
            raise
        if answer.HasField("refusal"):
            refusal = decode_refusal(answer.refusal)
            if isinstance(refusal, NotFound) and refusal.field == "curriculum":
                self.end(refusal)
            raise refusal
        self._position = max(self._position, answer.position)
        return answer

    def end(self, refusal: RequestError) -> None:
        """Refuse every request from now on: the curriculum was deleted, or the front door ends."""
        if self._ended is not None:
            return
        self._ended = refusal
        self._beat.cancel()
        self._on_end(self)
        if self._pump is None:
            self._start_pump()

    async def finish(self) -> None:
        """Wait for what is under way."""
        if self._pump is not None:
            await self._pump

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
            while self._queue or (self._heard and self._ended is None):
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
        heard, self._heard = self._heard, set()
        exchange = calls.Exchange(items=[each.item for each in taken], heard=heard)
        try:
            outcomes = (await self.call(calls.Call(exchange=exchange))).outcomes
        except RequestError as refusal:
            if not isinstance(refusal, (Unavailable, NotFound, FailedPrecondition)):
                raise
            self._answer(taken, [refusal] * len(taken))
        else:
            self._answer(taken, [_read(outcome) for outcome in outcomes])

    def _answer(self, taken: list[_Queued], results: list[Any]) -> None:
        waiting = [each for each in taken if each.future is not None]
        self._room.leave(len(waiting), sum(each.size for each in waiting))
        for each, result in zip(taken, results, strict=True):
            if each.future is None or each.future.done():  # nobody waits, or its caller has gone
                continue
            if isinstance(result, RequestError):
                each.future.set_exception(result)
            else:
                each.future.set_result(result)

    async def _beat_forever(self) -> None:
        """Have the actor know that its sessions can be heard, and which were."""
        while True:
            await asyncio.sleep(beat_seconds(self.lease_seconds))
            if self._pump is None and self._link.refusal is None:
                self._queue.append(_Queued(calls.Item(detach=""), 0, None))
                self._start_pump()


def _read(outcome: calls.Outcome) -> Reply | int | RequestError:
    match outcome.WhichOneof("outcome"):
        case "refusal":
            return decode_refusal(outcome.refusal)
        case "reply":
            return decode_reply(outcome.reply)
        case _:
            return int(outcome.applied_sequence)
