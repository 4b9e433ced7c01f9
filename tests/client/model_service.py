"""A model of the service's side of StreamMetrics, from the rules in the contract, and a network that can be cut."""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from syllabus_client.session import Connection, SessionMachine
from syllabus_client.wire import curriculum_pb2 as pb
from syllabus_client.wire.codec import from_tensor, to_tensor


class Refused(Exception):
    """A request ends the stream with this status."""

    def __init__(self, code: str, details: str) -> None:
        super().__init__(details)
        self.code = code
        self.details = details


@dataclass
class ModelSession:
    applied: int = 0
    replies: dict[int, pb.BatchReply] = field(default_factory=dict)
    payloads: dict[int, bytes] = field(default_factory=dict)


class ModelService:
    """Applies batches at once; remembers every row: episodes by their length, which tests make unique."""

    def __init__(self, *, incarnation: int = 7, num_tasks: int = 1000, limits: pb.Limits | None = None) -> None:
        self.incarnation = incarnation
        self.limits = limits or pb.Limits(
            max_message_bytes=1 << 22,
            max_tasks_per_request=4096,
            max_rows_per_batch=4096,
            max_unacknowledged_batches=8,
            max_open_assignments=10_000,
        )
        self.num_tasks = num_tasks
        self.supply: int | None = None  # how many tasks there are to hand out, or None for any number
        self.sessions: dict[str, ModelSession] = {}
        self.open: dict[int, tuple[str, int]] = {}
        self.episodes: list[int] = []
        self.released: list[int] = []
        self.steps: list[float] = []
        self.progress: list[float] = []
        self.rejected = 0
        self.batches: list[pb.SessionBatch] = []
        self.max_unanswered_seen = 0
        self._ids = itertools.count(1)
        self.refuse: Callable[[pb.SessionBatch], None] = lambda batch: None

    def forget(self) -> None:
        """Lose everything, as a service whose curriculum was created anew."""
        self.incarnation += 1
        self.sessions.clear()
        self.open.clear()
        self._ids = itertools.count(1)

    def opened(self, message: pb.OpenSession) -> pb.StreamMetricsResponse:
        if message.incarnation not in (0, self.incarnation):
            raise Refused("FAILED_PRECONDITION", "incarnation: no longer there")
        session = self.sessions.setdefault(message.session_id, ModelSession())
        opened = pb.SessionOpened(
            curriculum=pb.Curriculum(name=message.curriculum, incarnation=self.incarnation),
            applied_sequence=session.applied,
            limits=self.limits,
        )
        opened.lease.FromMilliseconds(120_000)
        return pb.StreamMetricsResponse(opened=opened)

    def reply(self, session_id: str, message: pb.SessionBatch) -> pb.StreamMetricsResponse:
        self.batches.append(message)
        if session_id not in self.sessions:
            raise Refused("FAILED_PRECONDITION", "session_id: not known")
        session = self.sessions[session_id]
        payload = message.batch.SerializeToString(deterministic=True)
        if message.sequence <= session.applied:
            if message.sequence not in session.replies or session.payloads[message.sequence] != payload:
                raise Refused("FAILED_PRECONDITION", "sequence: was applied with another content, or acknowledged")
            return pb.StreamMetricsResponse(reply=session.replies[message.sequence])
        if message.sequence != session.applied + 1:
            raise Refused("FAILED_PRECONDITION", f"sequence: expected {session.applied + 1}, got {message.sequence}")
        self.refuse(message)
        for sequence in [kept for kept in session.replies if kept <= message.acknowledged_sequence]:
            del session.replies[sequence]
        if len(session.replies) >= self.limits.max_unacknowledged_batches:
            raise Refused("RESOURCE_EXHAUSTED", "too many unacknowledged batches")
        reply = self._apply(session_id, message)
        session.applied = message.sequence
        session.replies[message.sequence] = reply
        session.payloads[message.sequence] = payload
        self.max_unanswered_seen = max(self.max_unanswered_seen, len(session.replies))
        return pb.StreamMetricsResponse(reply=reply)

    def _apply(self, session_id: str, message: pb.SessionBatch) -> pb.BatchReply:
        batch = message.batch
        reply = pb.BatchReply(sequence=message.sequence, position=len(self.batches))
        held = sum(owner == session_id for owner, _ in self.open.values())
        if held + batch.num_tasks > self.limits.max_open_assignments:
            raise Refused("RESOURCE_EXHAUSTED", "num_tasks: too many open assignments")
        rows = 0
        if batch.HasField("steps"):
            self.steps += from_tensor(batch.steps.reward, "reward").tolist()
            rows += len(batch.steps.reward.data) // 8
        if batch.HasField("progress"):
            self.progress += from_tensor(batch.progress.progress, "progress").tolist()
            rows += len(batch.progress.progress.data) // 8
        if batch.HasField("episodes"):
            ids = from_tensor(batch.episodes.assignment_id, "id").tolist()
            lengths = from_tensor(batch.episodes.length, "length").tolist()
            if not batch.episodes.HasField("task") and 0 in ids:
                raise Refused("INVALID_ARGUMENT", "episodes.assignment_id: 0 without a task")
            rows += len(ids)
            for row, (assignment, length) in enumerate(zip(ids, lengths, strict=True)):
                if assignment and self.open.get(assignment, ("", 0))[0] != session_id:
                    self._reject(reply, pb.BATCH_PART_EPISODES, row)
                    continue
                self.open.pop(assignment, None)
                self.episodes.append(length)
        if batch.HasField("released"):
            for row, assignment in enumerate(from_tensor(batch.released, "released").tolist()):
                rows += 1
                if self.open.get(assignment, ("", 0))[0] != session_id:
                    self._reject(reply, pb.BATCH_PART_RELEASED, row)
                    continue
                del self.open[assignment]
                self.released.append(assignment)
        if rows > self.limits.max_rows_per_batch:
            raise Refused("INVALID_ARGUMENT", "rows: too many")
        if batch.close:
            self.open = {name: owner for name, owner in self.open.items() if owner[0] != session_id}
        if batch.num_tasks:
            drawn = batch.num_tasks if self.supply is None else min(batch.num_tasks, self.supply)
            if self.supply is not None:
                self.supply -= drawn
            ids = [next(self._ids) for _ in range(drawn)]
            self.open |= {name: (session_id, name % self.num_tasks) for name in ids}
            reply.tasks.assignment_id.CopyFrom(to_tensor(np.array(ids, np.uint64)))
            reply.tasks.task.CopyFrom(to_tensor(np.array([name % self.num_tasks for name in ids], np.int64)))
            reply.tasks.position = reply.position
        return reply

    def _reject(self, reply: pb.BatchReply, part: pb.BatchPart, row: int) -> None:
        self.rejected += 1
        reply.rejections.add(part=part, row=row, reason=pb.REJECTION_REASON_ASSIGNMENT_NOT_OPEN)


class Simulation:
    """One machine, one model service, a network with delays, and a clock: every event in order of its time.

    Args:
        delay: seconds of one way, drawn per message.
        duplicate: probability that a reply arrives twice.
    """

    def __init__(
        self,
        machine: SessionMachine,
        service: ModelService,
        *,
        rng: random.Random | None = None,
        delay: Callable[[], float] = lambda: 0.0005,
        duplicate: float = 0.0,
    ) -> None:
        self.machine = machine
        self.service = service
        self.rng = rng or random.Random(0)
        self.now = 0.0
        self.up = True
        self.half_open = False
        self.polls_in_vain = 0
        self.messages = 0
        self._delay = delay
        self._duplicate = duplicate
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._stream = 0
        self._dead_stream = -1
        self._session_id = ""
        self._arrival = {"up": 0.0, "down": 0.0}

    def at(self, delay: float, action: Callable[[], None]) -> None:
        """Do something later."""
        self._at(self.now + delay, action)

    def _at(self, time: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._events, (time, next(self._order), action))

    def cut(self, code: str = "UNAVAILABLE", details: str = "the connection was cut") -> None:
        """End the stream: what is on its way is lost."""
        if self.machine.connection is not Connection.DOWN:
            self._stream += 1
            self.machine.disconnected(code, details, self.now)

    def run(self, seconds: float, until: Callable[[], bool] = lambda: False) -> None:
        """Let time pass."""
        end = self.now + seconds
        while not until():
            self._pump()
            times = [end]
            if self._events:
                times.append(self._events[0][0])
            if (wakeup := self.machine.next_wakeup(self.now)) is not None:
                times.append(max(self.now, wakeup))
            if (connect := self.machine.connect_at()) is not None:
                times.append(max(self.now, connect))
            if min(times) >= end and not (self._events and self._events[0][0] <= end):
                self.now = end
                self._pump()
                return
            before = self.now
            self.now = min(times)
            if self._events and self._events[0][0] <= self.now:
                heapq.heappop(self._events)[2]()
            elif self.now == before and connect is None:
                self.polls_in_vain += 1
                assert self.polls_in_vain < 10, "the machine asks to be polled at once, and has nothing to send"

    def _pump(self) -> None:
        machine = self.machine
        connect = machine.connect_at()
        if connect is not None and connect <= self.now:
            if self.up:
                self._stream += 1
                self._arrival = {"up": self.now, "down": self.now}
                machine.connected(self.now)
            else:
                machine.connected(self.now)
                machine.disconnected("UNAVAILABLE", "nobody listens", self.now)
        for message in machine.poll(self.now):
            self.polls_in_vain = 0
            self.messages += 1
            self._travel("up", self._serve, pb.StreamMetricsRequest.FromString(message.SerializeToString()))
        if machine.must_reconnect:
            self.cut("CANCELLED", "given up")

    def _travel(self, way: str, deliver: Callable, message: object) -> None:
        """Deliver in order, after a delay, if the stream lasts; half-open, it is lost with all that follows."""
        stream = self._stream
        if self.half_open:
            self._dead_stream = stream
        self._arrival[way] = max(self._arrival[way], self.now + self._delay())
        self._at(self._arrival[way], lambda: deliver(message) if self._is_alive(stream) else None)

    def _is_alive(self, stream: int) -> bool:
        return stream == self._stream and stream != self._dead_stream

    def _serve(self, message: pb.StreamMetricsRequest) -> None:
        try:
            match message.WhichOneof("message"):
                case "open":
                    self._session_id = message.open.session_id
                    answer = self.service.opened(message.open)
                case "batch":
                    answer = self.service.reply(self._session_id, message.batch)
                case _:
                    answer = pb.StreamMetricsResponse(heartbeat=pb.Heartbeat())
        except Refused as refused:
            self._travel("down", lambda refusal: self.cut(refusal.code, refusal.details), refused)
            return
        copies = 2 if answer.WhichOneof("message") == "reply" and self.rng.random() < self._duplicate else 1
        for _ in range(copies):
            self._travel("down", self._receive, answer)

    def _receive(self, answer: pb.StreamMetricsResponse) -> None:
        self.machine.receive(pb.StreamMetricsResponse.FromString(answer.SerializeToString()), self.now)
