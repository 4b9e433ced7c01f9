"""SessionMachine: one session of a curriculum as a state machine; no threads, no clock, no gRPC.

The way h11 and h2 are written: methods take what environments did, messages that arrived, and the time; ``poll``
returns the messages to send. ``Session`` in ``stream.py`` is the shell that connects it to gRPC, threads and a clock.
"""

from __future__ import annotations

import enum
import math
import random
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from syllabus_client import validation
from syllabus_client.prefetch import Prefetch
from syllabus_client.ready_tasks import TRAIN, ReadyTask, ReadyTasks, TaskColumns
from syllabus_client.reports import PendingReports
from syllabus_client.session_statistics import Recorder, SessionStatistics
from syllabus_client.settings import SessionSettings
from syllabus_client.wire import curriculum_pb2 as pb
from syllabus_client.wire.codec import InvalidFieldError, from_tensor, to_tensor

_SHORT_BACKOFF_INITIAL = 0.02  # seconds until a short reply's missing tasks are asked for again
_SHORT_BACKOFF_MAX = 0.5
_HEARTBEAT_MAX = 10.0  # seconds
_EPOCH_SHIFT = np.uint64(
    62
)  # the two highest bits of an assignment's local id say in which life of the session it began
_WIRE_MASK = np.uint64((1 << 62) - 1)
_MESSAGE_OVERHEAD = 4096  # bytes left for names, tags and lengths in a message of the service's largest size

FATAL = frozenset({"UNAUTHENTICATED", "PERMISSION_DENIED", "NOT_FOUND", "UNIMPLEMENTED"})
"""Statuses after which trying again would not help."""


class Connection(enum.Enum):
    """What the machine knows of its connection."""

    DOWN = "down"
    OPENING = "opening"
    OPEN = "open"


@dataclass(slots=True)
class _Sent:
    """A batch without a reply."""

    message: pb.SessionBatch
    rows: int
    ended: int
    sent_at: float
    resent: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class FlushMark:
    """A place in the reports; see ``SessionMachine.flush``."""

    added: tuple[int, ...]
    epoch: int


@dataclass(frozen=True, slots=True)
class Failure:
    """A gRPC status."""

    code: str
    details: str


class SessionMachine:
    """Coalesces reports, keeps batches until they are answered, sends them again after a reconnect, holds ready tasks.

    The shell calls ``connected`` when it has opened a stream, ``receive`` for each message, ``disconnected`` when the
    stream ended, and ``poll`` for what to send: again at ``next_wakeup``, or at ``due`` where a call made that earlier.
    It opens a stream when ``connect_at`` says so and gives one up when ``must_reconnect`` says so.

    Promises: each reported row is in exactly one batch; a batch is sent again, unchanged, until it is answered, and no
    batch is made while ``max_unacknowledged`` are without a reply; what is given up (the service lost the session, or
    refused a batch) is counted as undelivered and said in a notice.

    Assignment ids are local: those of the service, marked in their two highest bits with the life of the session in
    which they began, so that an episode that outlives its session is not taken for one of the next.

    Args:
        curriculum: name of the curriculum.
        settings: how to behave.
        rng: for jitter in reconnects.
        new_session_id: makes session ids.
    """

    def __init__(
        self,
        curriculum: str,
        settings: SessionSettings,
        *,
        rng: random.Random | None = None,
        new_session_id: Callable[[], str] = lambda: uuid.uuid4().hex,
    ) -> None:
        self.settings = settings
        self.curriculum_name = curriculum
        self.curriculum: pb.Curriculum | None = None
        self.fatal: Failure | None = None
        self.last_failure: Failure | None = None
        self.closed = False
        self.waiting = 0
        self.environments = 0
        self.due = 0.0
        self._rng = rng or random.Random()
        self._new_session_id = new_session_id
        self._limits = pb.Limits(
            max_message_bytes=1 << 22,
            max_tasks_per_request=1,
            max_rows_per_batch=1,
            max_unacknowledged_batches=1,
            max_open_assignments=1,
        )
        self._heartbeat_interval = _HEARTBEAT_MAX
        self._statistics = Recorder()
        self._notices: list[str] = []
        self._said: set[str] = set()

        self._connection = Connection.DOWN
        self._connect_at = 0.0
        self._attempts = 0
        self._connected_before = False
        self._must_reconnect = False
        self._outbox: list[pb.StreamMetricsRequest] = []
        self._last_sent = 0.0
        self._owed_since: float | None = None

        self._epoch = 0
        self._pending = PendingReports()
        self._pending_since: float | None = None
        self._flush_marks: dict[FlushMark, int | None] = {}
        self._closing = False
        self._begin_session()

        self._ready = ReadyTasks()
        self._prefetch = Prefetch(settings.prefetch, settings.max_prefetch, settings.max_latency)
        self._demand_since: float | None = None
        self._short_until = 0.0
        self._short_backoff = _SHORT_BACKOFF_INITIAL

    def _begin_session(self) -> None:
        self.session_id = self._new_session_id()
        self._incarnation = 0
        self._next_sequence = 1
        self._acknowledged = 0
        self._unanswered: dict[int, _Sent] = {}
        self._in_flight = 0
        self._held = 0  # assignments taken, whose end is not in an answered batch
        self._close_sent = False
        self._refused: Failure | None = None
        self._replaced = 0

    # Connection

    @property
    def connection(self) -> Connection:
        """Whether the session is open."""
        return self._connection

    @property
    def must_reconnect(self) -> bool:
        """Whether the shell should end this stream, and report it as disconnected."""
        return self._must_reconnect

    def connect_at(self) -> float | None:
        """When to open a stream; None while there is one, or none is wanted any more."""
        if self._connection is not Connection.DOWN or self.closed or self.fatal:
            return None
        return self._connect_at

    def connected(self, now: float) -> None:
        """A stream was opened."""
        self._connection = Connection.OPENING
        self._must_reconnect = False
        self._owed_since = now
        self._last_sent = now
        if self._connected_before:
            self._statistics.add("reconnects")
        self._connected_before = True
        open_session = pb.OpenSession(
            curriculum=self.curriculum_name, session_id=self.session_id, incarnation=self._incarnation
        )
        self._outbox = [pb.StreamMetricsRequest(open=open_session)]

    def paused(self, now: float) -> None:
        """The shell ended the stream for reasons of its own; it may open another one at once."""
        self._went_down()
        self._connect_at = now

    def _went_down(self) -> None:
        self._connection = Connection.DOWN
        self._outbox = []
        self._owed_since = None
        self._must_reconnect = False

    def disconnected(self, code: str, details: str, now: float) -> None:
        """The stream ended, or could not be opened, with this gRPC status."""
        was = self._connection
        self._went_down()
        self.last_failure = Failure(code, details)
        if code in FATAL or (code == "INVALID_ARGUMENT" and was is Connection.OPENING):
            self._end(self.last_failure)
            return
        if code == "FAILED_PRECONDITION":
            self._lose_session(details, now)
        elif code in ("INVALID_ARGUMENT", "RESOURCE_EXHAUSTED") and was is Connection.OPEN:
            self._refused = self.last_failure
        settings = self.settings
        delay = min(settings.backoff_max, settings.backoff_initial * settings.backoff_multiplier**self._attempts)
        self._attempts = min(self._attempts + 1, 64)
        self._connect_at = now + delay * (1.0 - 0.5 * self._rng.random())

    def receive(self, message: pb.StreamMetricsResponse, now: float) -> None:
        """A message arrived on the stream that was opened last."""
        match message.WhichOneof("message"):
            case "opened":
                self._opened(message.opened, now)
            case "reply":
                self._attempts = 0
                self._replied(message.reply, now)
            case "heartbeat":
                self._attempts = 0
                self._owed_since = now if self._unanswered else None

    def poll(self, now: float) -> list[pb.StreamMetricsRequest]:
        """The messages to send now, in order."""
        if self._owed_since is not None and now >= self._owed_since + self.settings.stall_timeout:
            self._must_reconnect = True
        if self._connection is Connection.DOWN or self._must_reconnect:
            return []
        messages, self._outbox = self._outbox, []
        if self._connection is Connection.OPEN:
            while (batch := self._next_batch(now)) is not None:
                messages.append(pb.StreamMetricsRequest(batch=batch))
            if not messages and now >= self._last_sent + self._heartbeat_interval:
                messages.append(pb.StreamMetricsRequest(heartbeat=pb.Heartbeat()))
        if messages:
            self._last_sent = now
            if self._owed_since is None:
                self._owed_since = now
        return messages

    def next_wakeup(self, now: float) -> float | None:
        """When ``poll`` may have something to send, or ``must_reconnect`` to say, though nothing happens until then.

        ``due`` is set to the same, and lowered by calls that make it earlier.
        """
        self.due = math.inf
        if self._connection is Connection.DOWN or self._must_reconnect:
            return None
        times = []
        if self._owed_since is not None:
            times.append(self._owed_since + self.settings.stall_timeout)
        if self._outbox:
            times.append(now)
        if self._connection is Connection.OPEN:
            times.append(self._last_sent + self._heartbeat_interval)
            if len(self._unanswered) < self._max_unanswered and not self._close_sent:
                times += self._batch_times(now)
        self.due = min(times, default=math.inf)
        return min(times, default=None)

    # What environments do

    @property
    def num_ready(self) -> int:
        """Tasks that can be taken at once."""
        return len(self._ready)

    @property
    def num_pending(self) -> int:
        """Rows reported and not sent."""
        return len(self._pending)

    @property
    def num_undelivered(self) -> int:
        """Rows that are not known to be in the service's journal: reported and not sent, and sent and not answered."""
        return len(self._pending) + sum(sent.rows for sent in self._unanswered.values())

    def take(self, k: int, now: float, waited: float | None = None) -> TaskColumns | None:
        """The next k tasks, first drawn first taken; None while fewer are ready. O(k).

        Args:
            k: at least 1.
            now: seconds.
            waited: seconds that the caller had to wait for them; None where it had not.
        """
        if len(self._ready) < k:
            return None
        tasks = self._ready.take(k)
        self._taken(k, float(now * k - tasks.arrived.sum()), now - float(tasks.arrived[0]), now, waited)
        return tasks

    def take_one(self, now: float, waited: float | None = None) -> ReadyTask | None:
        """The next task, or None; otherwise as ``take``."""
        if not len(self._ready):
            return None
        task = self._ready.take_one()
        age = now - task.arrived
        self._taken(1, age, age, now, waited)
        return task

    def _taken(self, k: int, ages: float, oldest: float, now: float, waited: float | None) -> None:
        self._held += k
        self._prefetch.used(k, now)
        self._statistics.used(k, ages, oldest)
        if waited is not None:
            self._statistics.waited(waited)
        if self._demand_since is None:
            self._demand_since = now
        self._lower_due(now if self._runs_short(now) else now + self.settings.max_latency)

    def repeated(self, k: int) -> None:
        """Tasks were given again because the service is away."""
        self._statistics.add("tasks_repeated", k)

    def set_task_format(self, dtype: Any, shape: tuple[int, ...], decode: Callable[[np.ndarray], list[Any]]) -> None:
        """Tell dtype and shape of an encoded task, otherwise those of the first one reported, and how to decode."""
        self._pending.set_task_format(dtype, shape)
        self._ready.decode = decode

    def report_episode(
        self,
        now: float,
        assignment_id: int,
        task: Any,
        episode_return: float,
        length: int,
        progress: float,
        env_id: int,
        metrics: Mapping[str, float] | None = None,
        agent_returns: Mapping[str, float] | None = None,
    ) -> None:
        """A finished episode. One that is not valid is not sent: it is counted, and its assignment is released."""
        wire_id = self._to_wire(assignment_id)
        if wire_id is None or self.fatal or self._closing:
            self._give_up(1)
            return
        problem = validation.episode_problem(
            wire_id, task is not None, episode_return, length, progress, env_id, metrics, agent_returns
        )
        if problem is not None:
            self._invalid(1, problem)
            if wire_id:
                self._add_releases(np.array([wire_id], np.uint64), now)
            return
        self._pending.add_episode(
            wire_id, task, episode_return, length, progress, env_id, metrics or None, agent_returns or None
        )
        self._added(1, now)

    def report_episodes(
        self,
        now: float,
        columns: Mapping[str, np.ndarray],
        metrics: Mapping[str, Any],
        agent_returns: Mapping[str, Any],
    ) -> None:
        """n finished episodes; ``columns`` are named as in ``EpisodeBatch``, without ``task``: as assigned."""
        ids, alive = self._to_wire_many(columns["assignment_id"])
        columns = {**columns, "assignment_id": ids}
        problem, valid = validation.episodes_problem(columns, metrics, agent_returns)
        keep = alive & valid
        if not keep.all():
            self._give_up(int(np.count_nonzero(~alive)))
            if problem is not None and (bad := int(np.count_nonzero(alive & ~valid))):
                self._invalid(bad, problem)
                self._add_releases(ids[alive & ~valid & (ids != 0)], now)
            columns, metrics, agent_returns = (
                {name: column[keep] for name, column in group.items()} for group in (columns, metrics, agent_returns)
            )
        if rows := len(columns["assignment_id"]):
            self._pending.add_episodes(columns, metrics, agent_returns)
            self._added(rows, now)

    def report_progress(self, now: float, assignment_id: int, task: Any, progress: float, env_id: int) -> None:
        """Task completion in the middle of an episode. What is not valid is counted and not sent."""
        wire_id = self._to_wire(assignment_id)
        if wire_id is None or self.fatal or self._closing:
            self._give_up(1)
            return
        problem = validation.episode_problem(wire_id, task is not None, 0.0, 0, progress, env_id, None, None)
        if problem is not None:
            self._invalid(1, problem)
            return
        self._pending.add_progress(wire_id, task, progress, env_id)
        self._added(1, now)

    def report_steps(self, now: float, columns: Mapping[str, np.ndarray], arrays: Mapping[str, np.ndarray]) -> None:
        """Environment steps; ``columns`` are named as in ``StepBatch``, without ``task``: as assigned."""
        ids, alive = self._to_wire_many(columns["assignment_id"])
        columns = {**columns, "assignment_id": ids}
        problem, valid = validation.steps_problem(columns)
        keep = alive & valid
        if not keep.all():
            self._give_up(int(np.count_nonzero(~alive)))
            if problem is not None and (bad := int(np.count_nonzero(alive & ~valid))):
                self._invalid(bad, problem, counter=None)
                self._give_up(bad)
            columns = {name: column[keep] for name, column in columns.items()}
            arrays = {name: array[keep] for name, array in arrays.items()}
        if rows := len(columns["assignment_id"]):
            self._pending.add_steps(columns, arrays)
            self._added(rows, now)

    def release(self, now: float, assignment_ids: np.ndarray) -> None:
        """Assignments that will not be run to an end: uint64 (r,)."""
        ids, alive = self._to_wire_many(assignment_ids)
        self._add_releases(ids[alive & (ids != 0)], now)

    def flush(self) -> FlushMark:
        """Send all that was reported so far at once; ``delivered`` tells when it is in the journal."""
        mark = FlushMark(self._pending.num_added, self._epoch)
        self._flush_marks.setdefault(mark, None)
        if not len(self._pending):
            self._flush_marks[mark] = self._next_sequence - 1
        return mark

    def delivered(self, mark: FlushMark) -> bool:
        """Whether what was reported before ``flush`` is in the journal, or was given up. Ask until True."""
        sequence = self._flush_marks.get(mark)
        done = (
            self.fatal is not None
            or mark.epoch != self._epoch
            or (sequence is not None and sequence <= self._acknowledged)
        )
        if done:
            self.forget(mark)
        return done

    def forget(self, mark: FlushMark) -> None:
        """Nobody asks any more whether this is delivered."""
        self._flush_marks.pop(mark, None)

    def close(self) -> None:
        """Send what is pending, then end the session; ``closed`` tells when it has ended."""
        self._closing = True
        if not len(self._pending) and not self._unanswered and not self._incarnation:
            self.closed = True

    def statistics(self) -> SessionStatistics:
        """The counters."""
        return self._statistics.snapshot()

    @property
    def has_notices(self) -> bool:
        """Whether there is something to tell."""
        return bool(self._notices)

    def take_notices(self) -> list[str]:
        """What a person should be told; each kind of notice once."""
        notices, self._notices = self._notices, []
        return notices

    # Messages that arrive

    def _opened(self, opened: pb.SessionOpened, now: float) -> None:
        if self._connection is not Connection.OPENING:
            return
        curriculum = opened.curriculum
        sent = self._next_sequence - 1
        another = self._incarnation not in (0, curriculum.incarnation)
        if another or not self._acknowledged <= opened.applied_sequence <= sent:
            self._lose_session("it no longer knows what this session has sent", now)
            self._must_reconnect = True
            return
        self._connection = Connection.OPEN
        self._incarnation = curriculum.incarnation
        self.curriculum = curriculum
        self._limits.CopyFrom(opened.limits)
        lease = opened.lease.ToTimedelta().total_seconds()
        self._heartbeat_interval = min(_HEARTBEAT_MAX, lease / 4) if lease > 0 else _HEARTBEAT_MAX
        self._owed_since = now if self._unanswered else None
        if self._refused is not None:
            self._mend(opened.applied_sequence + 1)
        for waiting in self._unanswered.values():
            waiting.resent = True
            waiting.message.acknowledged_sequence = self._acknowledged
            waiting.message.ClearField("client_statistics")
            self._statistics.add("batches_resent")
            self._outbox.append(pb.StreamMetricsRequest(batch=waiting.message))

    def _replied(self, reply: pb.BatchReply, now: float) -> None:
        sent = self._unanswered.pop(reply.sequence, None)
        if sent is None:  # a duplicate
            return
        while self._acknowledged + 1 < self._next_sequence and self._acknowledged + 1 not in self._unanswered:
            self._acknowledged += 1
        self._owed_since = now if self._unanswered else None
        self._held = max(0, self._held - sent.ended)
        if not sent.resent:
            self._prefetch.answered(now - sent.sent_at)
        self._statistics.add("batches_answered")
        self._statistics.add("rows_answered", sent.rows)
        for rejection in reply.rejections:
            reason = pb.RejectionReason.Name(rejection.reason).removeprefix("REJECTION_REASON_").lower()
            self._statistics.rejected[reason] += 1
            self._say(f"rejected {reason}", f"the service did not count a row: {reason.replace('_', ' ')}")
        if reply.curriculum_error:
            self._statistics.add("curriculum_errors")
            self._say("curriculum", f"the curriculum raised an error: {reply.curriculum_error}")
        if sent.message.batch.close:
            self.closed = True
        asked = sent.message.batch.num_tasks
        self._in_flight -= asked
        drawn = self._put_tasks(reply.tasks, now) if reply.HasField("tasks") else 0
        if asked and drawn < asked:
            self._statistics.add("short_replies")
            self._short_until = now + self._short_backoff
            self._short_backoff = min(_SHORT_BACKOFF_MAX, 2 * self._short_backoff)
        elif asked:
            self._short_until = 0.0
            self._short_backoff = _SHORT_BACKOFF_INITIAL

    def _put_tasks(self, tasks: pb.TaskBatch, now: float) -> int:
        try:
            ids = from_tensor(tasks.assignment_id, "tasks.assignment_id").astype(np.uint64)
            encoded = from_tensor(tasks.task, "tasks.task")
            probabilities = None
            if tasks.HasField("probability"):
                probabilities = from_tensor(tasks.probability, "tasks.probability")
        except InvalidFieldError as error:
            self._end(Failure("INTERNAL", f"the service sent tasks that cannot be read: {error}"))
            return 0
        k = len(ids)
        purposes = np.array(tasks.purpose, np.uint8) if len(tasks.purpose) == k else np.full(k, TRAIN, np.uint8)
        purposes[purposes == pb.PURPOSE_UNSPECIFIED] = TRAIN
        if self._epoch:
            ids |= np.uint64(self._epoch) << _EPOCH_SHIFT
        positions = np.full(k, tasks.position, np.uint64)
        self._ready.put(TaskColumns(ids, encoded, probabilities, purposes, positions, np.full(k, now)))
        return k

    # Batches that leave

    @property
    def _max_unanswered(self) -> int:
        return min(self.settings.max_unacknowledged, max(1, self._limits.max_unacknowledged_batches))

    @property
    def _max_rows(self) -> int:
        return min(self.settings.max_rows, max(1, self._limits.max_rows_per_batch))

    @property
    def _max_bytes(self) -> int:
        limit = self._limits.max_message_bytes or self.settings.max_bytes + _MESSAGE_OVERHEAD
        return max(1, min(self.settings.max_bytes, limit - _MESSAGE_OVERHEAD))

    def _next_batch(self, now: float) -> pb.SessionBatch | None:
        if self._close_sent or len(self._unanswered) >= self._max_unanswered:
            return None
        demand = self._demand(now)
        if demand and self._demand_since is None:
            self._demand_since = now
        elif not demand:
            self._demand_since = None
        if not any(at <= now for at in self._batch_times(now)):
            return None
        return self._make_batch(demand, now)

    def _demand(self, now: float) -> int:
        """How many tasks to ask for."""
        if self._closing:
            return 0
        coming = len(self._ready) + self._in_flight
        wanted = max(self._prefetch.target(self.environments, now), self.waiting) - coming
        room = self._limits.max_open_assignments - self._held - coming
        return max(0, min(wanted, room, self._limits.max_tasks_per_request))

    def _batch_times(self, now: float) -> list[float]:
        """When a batch is due, for each reason to send one; assuming that one may be sent."""
        times = []
        rows = len(self._pending)
        if rows:
            full = rows >= self._max_rows or self._pending.num_bytes >= self._max_bytes
            at_once = full or self._closing or self._flush_marks_open
            since = now if self._pending_since is None else self._pending_since
            times.append(now if at_once else since + self.settings.max_latency)
        elif self._closing:
            times.append(now)
        if self._demand_since is not None and self._demand(now):
            at = now if self._runs_short(now) else self._demand_since + self.settings.max_latency
            if not rows:  # what was reported may have given the curriculum tasks: it is asked again at once
                at = max(at, self._short_until)
            times.append(at)
        return times

    def _runs_short(self, now: float) -> bool:
        """Whether somebody waits for a task, or is expected to before a refill that is not hurried has come."""
        coming = len(self._ready) + self._in_flight
        return self.waiting > coming or coming + 1 <= self._prefetch.used_during_refill(now)

    def _lower_due(self, at: float) -> None:
        if at < self.due and len(self._unanswered) < self._max_unanswered:
            self.due = at

    @property
    def _flush_marks_open(self) -> bool:
        return any(sequence is None for sequence in self._flush_marks.values())

    def _make_batch(self, demand: int, now: float) -> pb.SessionBatch:
        batch = pb.MetricsBatch()
        rows, ended = self._pending.fill(batch, self._max_rows, self._max_bytes)
        left = len(self._pending)
        self._pending_since = now if left else None
        if rows or now >= self._short_until:
            batch.num_tasks = demand
            self._in_flight += demand
            self._demand_since = None
        batch.close = self._closing and not left
        self._close_sent = batch.close
        sequence = self._next_sequence
        self._next_sequence += 1
        taken = self._pending.num_taken
        for mark, passed in self._flush_marks.items():
            if passed is None and all(t >= added for t, added in zip(taken, mark.added, strict=True)):
                self._flush_marks[mark] = sequence
        message = pb.SessionBatch(sequence=sequence, acknowledged_sequence=self._acknowledged, batch=batch)
        if (interval := self._statistics.interval()) is not None:
            message.client_statistics.CopyFrom(interval)
        self._unanswered[sequence] = _Sent(message, rows, ended, now)
        self._statistics.add("batches_sent")
        return message

    # Reports

    def _to_wire(self, assignment_id: int) -> int | None:
        """The service's id, 0 for none; or None where the assignment ended with an earlier life of the session."""
        if not self._epoch or not assignment_id:
            return assignment_id
        return assignment_id & int(_WIRE_MASK) if assignment_id >> 62 == self._epoch else None

    def _to_wire_many(self, assignment_ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The service's ids, and which of them are still alive."""
        if self.fatal or self._closing:
            return assignment_ids, np.zeros(len(assignment_ids), bool)
        if not self._epoch:
            return assignment_ids, np.ones(len(assignment_ids), bool)
        alive = (assignment_ids == 0) | (assignment_ids >> _EPOCH_SHIFT == self._epoch)
        return assignment_ids & _WIRE_MASK, alive

    def _add_releases(self, wire_ids: np.ndarray, now: float) -> None:
        if len(wire_ids):
            self._pending.add_releases(wire_ids)
            self._added(len(wire_ids), now)

    def _added(self, rows: int, now: float) -> None:
        self._statistics.add("rows_reported", rows)
        if self._pending_since is None:
            self._pending_since = now
            self._lower_due(now + self.settings.max_latency)
        if len(self._pending) >= self._max_rows:
            self._lower_due(now)

    def _invalid(self, rows: int, problem: str, counter: str | None = "episodes_invalid") -> None:
        if counter:
            self._statistics.add(counter, rows)
        self._say("invalid", f"what an environment reported is not valid and was not sent: {problem}")

    def _give_up(self, rows: int) -> None:
        """Count rows that are reported and will not be delivered."""
        if rows:
            self._statistics.add("rows_reported", rows)
            self._statistics.add("rows_undelivered", rows)

    # What goes wrong

    def _lose_session(self, why: str, now: float) -> None:
        """The service does not know this session any more: begin another one; what it held is void."""
        lost = sum(sent.rows for sent in self._unanswered.values()) + self._pending.drop_assigned()
        self._statistics.add("rows_undelivered", lost)
        self._statistics.add("sessions_lost")
        self._pending_since = now if len(self._pending) else None
        self._ready.clear()
        self._flush_marks.clear()
        self._demand_since = None
        self._short_until = 0.0
        self._epoch = self._epoch % 3 + 1
        closing = self._closing
        self._begin_session()
        self.closed = closing and not len(self._pending)
        self._say(
            "lost",
            f"the service lost this process's session of curriculum {self.curriculum_name!r} ({why}): {lost} reports "
            "were not delivered, and episodes under way will not be counted",
        )

    def _mend(self, sequence: int) -> None:
        """The service refused the batch that it had to apply next: send one without what may be at fault instead."""
        refused, self._refused = self._refused, None
        sent = self._unanswered.get(sequence)
        if refused is None or sent is None:
            return
        batch = sent.message.batch
        self._in_flight -= batch.num_tasks
        batch.num_tasks = 0
        if refused.code == "RESOURCE_EXHAUSTED":
            return
        kept = pb.MetricsBatch(close=batch.close)
        if self._replaced != sequence and batch.HasField("episodes"):
            ids = from_tensor(batch.episodes.assignment_id, "episodes.assignment_id")
            kept.released.CopyFrom(to_tensor(np.unique(ids[ids != 0])))
        self._replaced = sequence
        self._statistics.add("batches_refused")
        self._statistics.add("rows_undelivered", sent.rows)
        self._say("refused", f"the service refused a batch of {sent.rows} reports: {refused.details}")
        sent.message.batch.CopyFrom(kept)
        sent.rows = 0

    def _end(self, failure: Failure) -> None:
        """Trying again would not help."""
        self.fatal = failure
        self._must_reconnect = self._connection is not Connection.DOWN
        lost = self.num_undelivered
        self._statistics.add("rows_undelivered", lost)
        if lost:
            self._say("fatal", f"{lost} reports were not delivered: {failure.code}: {failure.details}")
        self._pending = PendingReports()
        self._unanswered.clear()
        self._flush_marks.clear()
        self.closed = self.closed or self._closing

    def _say(self, kind: str, text: str) -> None:
        if kind not in self._said:
            self._said.add(kind)
            self._notices.append(text)
