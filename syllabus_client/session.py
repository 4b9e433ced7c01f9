"""SessionMachine: one session of a curriculum as a state machine; no threads, no clock, no gRPC.

The way h11 and h2 are written: methods take what environments did, messages that arrived, and the time; ``poll``
returns the messages to send. ``Session`` in ``stream.py`` is the shell that connects it to gRPC, threads and a clock.
"""

from __future__ import annotations

import math
import random
import uuid
from collections.abc import Callable
from typing import Any

import numpy as np

from syllabus_client.connection import Connection, ConnectionState
from syllabus_client.flush_marks import FlushMark
from syllabus_client.ready_tasks import Assignment, TaskColumns
from syllabus_client.report_intake import Failure, ReportIntake
from syllabus_client.reports import PendingReports
from syllabus_client.sent_batches import SentBatches
from syllabus_client.session_statistics import SessionStatistics
from syllabus_client.settings import SessionSettings
from syllabus_client.task_demand import TaskDemand, read_tasks
from syllabus_client.wire import curriculum_pb2 as pb
from syllabus_client.wire.codec import InvalidFieldError, from_tensor, to_tensor

__all__ = ["FATAL", "Connection", "Failure", "FlushMark", "SessionMachine"]

_AT_WORK = 1.0  # seconds after a batch for which a session counts as at work: ``poll`` is wanted in each max_latency,
_AT_WORK_LATENCY = 0.05  # where that is at least so many seconds
_MESSAGE_OVERHEAD = 4096  # bytes left for names, tags and lengths in a message of the service's largest size

FATAL = frozenset({"UNAUTHENTICATED", "PERMISSION_DENIED", "NOT_FOUND", "UNIMPLEMENTED"})
"""Statuses after which trying again would not help."""


class SessionMachine(ReportIntake):
    """Coalesces reports, keeps batches until they are answered, sends them again after a reconnect, holds ready tasks.

    One thing at a time may be done with it, but for what costs most if it has to wait: any thread may ``pop_task`` and
    ``offer_episode`` at any time, and calls ``notice``, when it may, where ``wants_notice`` is set after that.

    The shell calls ``connected`` when it has opened a stream, ``receive`` for each message, ``disconnected`` when the
    stream ended, and ``poll`` for what to send: again at ``next_wakeup``, or at ``due`` where a call made that earlier.
    It opens a stream when ``connect_at`` says so and gives one up when ``must_reconnect`` says so.

    Promises: each reported row is in exactly one batch; a batch is sent again, unchanged, until it is answered, and no
    batch is made while ``max_unacknowledged`` are without a reply; what is given up (the service lost the session, or
    refused a batch) is counted as undelivered and said in a notice.

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
        super().__init__(settings.max_latency, 2 * settings.max_pending_rows)
        self.settings = settings
        self.curriculum_name = curriculum
        self.curriculum: pb.Curriculum | None = None
        self.last_failure: Failure | None = None
        self.closed = False
        self._new_session_id = new_session_id
        self._link = ConnectionState(settings, rng or random.Random())
        self._connected_before = False
        self._outbox: list[pb.StreamMetricsRequest] = []
        self._demand = TaskDemand(settings)
        self._ready, self._prefetch = self._demand.ready, self._demand.prefetch
        self._window = self._ready.window
        self._low = -1  # with how many ready tasks a refill is to be hurried
        self._low_in_window = -1  # of them in the window, the rest being behind it
        self._at_work_until = -math.inf
        self._ages: list[float] = []  # of the tasks that were taken from the window, when they were used
        self._closing = False
        self._keep_limits(
            pb.Limits(
                max_message_bytes=1 << 22,
                max_tasks_per_request=1,
                max_rows_per_batch=1,
                max_unacknowledged_batches=1,
                max_open_assignments=1,
            )
        )
        self._begin_session()

    def _begin_session(self) -> None:
        self.session_id = self._new_session_id()
        self._incarnation = 0
        self._sent = SentBatches()
        self.is_full = False
        self._close_sent = False
        self._refused: Failure | None = None
        self._replaced = 0

    def _keep_limits(self, limits: pb.Limits) -> None:
        settings = self.settings
        self._max_unanswered = min(settings.max_unacknowledged, max(1, limits.max_unacknowledged_batches))
        self._max_rows = min(settings.max_rows, max(1, limits.max_rows_per_batch))
        largest = limits.max_message_bytes or settings.max_bytes + _MESSAGE_OVERHEAD
        self._max_bytes = max(1, min(settings.max_bytes, largest - _MESSAGE_OVERHEAD))
        self._demand.max_open = limits.max_open_assignments
        self._demand.max_per_request = limits.max_tasks_per_request
        self._mark_episodes()

    # Connection

    @property
    def connection(self) -> Connection:
        """Whether the session is open."""
        return self._link.state

    @property
    def must_reconnect(self) -> bool:
        """Whether the shell should end this stream, and report it as disconnected."""
        return self._link.must_reconnect

    def connect_at(self) -> float | None:
        """When to open a stream; None while there is one, or none is wanted any more."""
        if self._link.state is not Connection.DOWN or self.closed or self.fatal:
            return None
        return self._link.connect_at

    def connected(self, now: float) -> None:
        """A stream was opened."""
        self._link.opening(now)
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
        self._link.connect_at = now

    def _went_down(self) -> None:
        self._link.went_down()
        self._outbox = []

    def disconnected(self, code: str, details: str, now: float) -> None:
        """The stream ended, or could not be opened, with this gRPC status."""
        was = self._link.state
        self._went_down()
        self.last_failure = Failure(code, details)
        if code in FATAL or (code == "INVALID_ARGUMENT" and was is Connection.OPENING):
            self._end(self.last_failure)
            return
        if code == "FAILED_PRECONDITION":
            self._lose_session(details, now)
        elif code in ("INVALID_ARGUMENT", "RESOURCE_EXHAUSTED") and was is Connection.OPEN:
            self._refused = self.last_failure
        self._link.back_off(now)

    def receive(self, message: pb.StreamMetricsResponse, now: float) -> None:
        """A message arrived on the stream that was opened last."""
        match message.WhichOneof("message"):
            case "opened":
                self._opened(message.opened, now)
            case "reply":
                self._link.answered()
                self._replied(message.reply, now)
            case "heartbeat":
                self._link.answered()
                self._link.owe(bool(self._sent), now)
        self._demand.update(now)

    def poll(self, now: float) -> list[pb.StreamMetricsRequest]:
        """The messages to send now, in order."""
        link = self._link
        link.check_stall(now)
        if link.state is Connection.DOWN or link.must_reconnect:
            return []
        messages, self._outbox = self._outbox, []
        if link.state is Connection.OPEN:
            while (batch := self._next_batch(now)) is not None:
                messages.append(pb.StreamMetricsRequest(batch=batch))
            if not messages and link.heartbeat_is_due(now):
                messages.append(pb.StreamMetricsRequest(heartbeat=pb.Heartbeat()))
        if messages:
            link.sent(now)
        return messages

    def next_wakeup(self, now: float) -> float | None:
        """When ``poll`` may have something to send, or ``must_reconnect`` to say, though nothing happens until then.

        ``due`` is set to the same, and lowered by calls that make it earlier.
        """
        self._look(now)
        self.due = math.inf
        low = -1
        link = self._link
        if link.state is not Connection.DOWN and not link.must_reconnect:
            times = link.wakeups()
            if self._outbox:
                times.append(now)
            if now < self._at_work_until:  # what happens until then is due then, and nobody has to give notice of it
                times.append(now + self._max_latency)
            if self._may_send:
                times += self._batch_times(now)
                low = self._demand.low_mark(now)
            self.due = min(times, default=math.inf)
        self._set_low(low)
        self._see_whether_to_notice(now)
        return None if self.due == math.inf else self.due

    def notice(self, now: float) -> None:
        """Something was taken or reported: see when a batch is due."""
        self._look(now)
        self._demand.update(now)
        at = min(self._batch_times(now), default=math.inf) if self._may_send else now
        if at <= now:
            self._set_low(-1)  # until a batch has left, or one may be sent
        if self._may_send:
            self._lower_due(at)
        self._see_whether_to_notice(now)

    def _set_low(self, low: int) -> None:
        self._low = low
        self._low_in_window = low - (self._ready.count - len(self._window))

    def _see_whether_to_notice(self, now: float) -> None:
        """Whether what is taken or reported from now on may make a batch due earlier."""
        self.wants_notice = self._pending_since is None and self.due > now + self._max_latency
        if self.wants_notice and self.num_pending:  # reported since, by a thread that was not asked to give notice
            self._look(now)
            self._lower_due(now + self._max_latency)
            self.wants_notice = False

    @property
    def _may_send(self) -> bool:
        """Whether a batch may be sent now."""
        return self._link.state is Connection.OPEN and not self.is_full and not self._close_sent

    # What environments do; reports are in ReportIntake

    @property
    def environments(self) -> int:
        """How many environments take tasks here."""
        return self._demand.environments

    @environments.setter
    def environments(self, number: int) -> None:
        self._demand.environments = number

    @property
    def waiting(self) -> int:
        """Tasks that somebody waits for."""
        return self._demand.waiting

    @waiting.setter
    def waiting(self, number: int) -> None:
        self._demand.waiting = number

    @property
    def num_ready(self) -> int:
        """Tasks that can be taken at once."""
        return self._ready.count

    def take(self, k: int, now: float, waited: float | None = None) -> TaskColumns | None:
        """The next k tasks, first drawn first taken; None while fewer are ready. O(k).

        Args:
            k: at least 1.
            now: seconds.
            waited: seconds that the caller had to wait for them; None where it had not.
        """
        if self._ready.count < k:
            return None
        tasks = self._ready.take(k)
        self._set_low(self._low)  # the window is another one
        self._statistics.used(k, float(now * k - tasks.arrived.sum()), now - float(tasks.arrived[0]))
        self._taken(now, waited)
        return tasks

    def take_one(self, now: float, waited: float | None = None) -> Assignment | None:
        """The next task, or None; otherwise as ``take``."""
        self._ready.open_window()
        self._set_low(self._low)
        task = self.pop_task(now)
        if task is not None:
            self._taken(now, waited)
        return task

    def _taken(self, now: float, waited: float | None) -> None:
        if waited is not None:
            self._statistics.waited(waited)
            self._demand.count_taken(now)
            self._prefetch.starved()
        if self.wants_notice or waited is not None or self._ready.count <= self._low:
            self.notice(now)

    def pop_task(self, now: float) -> Assignment | None:
        """The next task, where it is at hand; None: ``take_one`` may find one."""
        window = self._window
        try:
            task, arrived = window.pop()  # one operation
        except IndexError:
            return None
        self._ages.append(now - arrived)
        if len(window) <= self._low_in_window:
            self.wants_notice = True
        return task

    def statistics(self) -> SessionStatistics:
        """The counters."""
        self._count_ages()
        return super().statistics()

    def _count_ages(self) -> None:
        if count := len(self._ages):
            ages = self._ages[:count]
            del self._ages[:count]  # others may have added to the end meanwhile
            self._statistics.used(count, sum(ages), max(ages))

    def repeated(self, k: int) -> None:
        """Tasks were given again because the service is away."""
        self._statistics.add("tasks_repeated", k)

    def set_task_format(self, dtype: Any, shape: tuple[int, ...], decode: Callable[[np.ndarray], list[Any]]) -> None:
        """Tell dtype and shape of an encoded task, otherwise those of the first one reported, and how to decode."""
        self._format.learn(dtype, shape)
        self._ready.decode = decode

    def close(self) -> None:
        """Send what is pending, then end the session; ``closed`` tells when it has ended."""
        self._collect()
        self._closing = self.refuses = self._demand.stopped = True
        if not self.num_pending and not self._sent and not self._incarnation:
            self.closed = True

    # Messages that arrive

    def _opened(self, opened: pb.SessionOpened, now: float) -> None:
        if self._link.state is not Connection.OPENING:
            return
        curriculum = opened.curriculum
        another = self._incarnation not in (0, curriculum.incarnation)
        if another or not self._sent.agrees(opened.applied_sequence):
            self._lose_session("it no longer knows what this session has sent", now)
            self._link.must_reconnect = True
            return
        self._link.opened(opened.lease.ToTimedelta().total_seconds())
        self._incarnation = curriculum.incarnation
        self.curriculum = curriculum
        self._keep_limits(opened.limits)
        self._link.owe(bool(self._sent), now)
        self._demand.ask_at_once(now)
        if self._refused is not None:
            self._mend(opened.applied_sequence + 1)
        for message in self._sent.again():
            self._statistics.add("batches_resent")
            self._outbox.append(pb.StreamMetricsRequest(batch=message))
        self.is_full = len(self._sent) >= self._max_unanswered

    def _replied(self, reply: pb.BatchReply, now: float) -> None:
        sent = self._sent.answered(reply.sequence)
        if sent is None:  # a duplicate
            return
        self.is_full = len(self._sent) >= self._max_unanswered
        self._link.owe(bool(self._sent), now)
        self._demand.ended(sent.ended)
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
        tasks: TaskColumns | None = None
        if reply.HasField("tasks"):
            try:
                tasks = read_tasks(reply.tasks, self._ids, now)
            except InvalidFieldError as error:
                self._end(Failure("INTERNAL", f"the service sent tasks that cannot be read: {error}"))
        if self._demand.answered(sent.message.batch.num_tasks, tasks, now):
            self._statistics.add("short_replies")

    # Batches that leave

    def _next_batch(self, now: float) -> pb.SessionBatch | None:
        if not self._may_send:
            return None
        self._look(now)
        wanted = self._demand.update(now)
        if not any(at <= now for at in self._batch_times(now)):
            return None
        return self._make_batch(wanted, now)

    def _batch_times(self, now: float) -> list[float]:
        """When a batch is due, for each reason to send one; assuming that one may be sent.

        While a batch is without a reply, the next one waits for that, too: so the slower the service, the larger the
        batches, and the less each report costs it. What is full, or somebody waits for, is sent at once.
        """
        times: list[float] = []
        rows = self.num_pending
        at_once = self._is_full_batch or self._closing or self._flush_marks.wait_for_batch
        if self._sent and not at_once and not self._demand.is_waited_for:
            return times
        if rows:
            since = now if self._pending_since is None else self._pending_since
            times.append(now if at_once else since + self._max_latency)
        elif self._closing:
            times.append(now)
        if (at := self._demand.due(now, with_reports=rows > 0)) is not None:
            times.append(at)
        return times

    def _make_batch(self, wanted: int, now: float) -> pb.SessionBatch:
        self._collect()
        batch = pb.MetricsBatch()
        rows, ended = self._pending.fill(batch, self._max_rows, self._max_bytes)
        left = self.num_pending
        self._pending_since = now if left else None
        self._mark_episodes()
        batch.num_tasks = self._demand.ask(wanted, now, with_reports=rows > 0)
        batch.close = self._close_sent = self._closing and not left
        message = self._sent.add(batch, rows, ended, now)
        self.is_full = len(self._sent) >= self._max_unanswered
        self._flush_marks.passed(self._pending.num_taken, message.sequence)
        if self._max_latency >= _AT_WORK_LATENCY:
            self._at_work_until = now + _AT_WORK
        self._count_ages()
        if (interval := self._statistics.interval()) is not None:
            message.client_statistics.CopyFrom(interval)
        self._statistics.add("batches_sent")
        return message

    # What goes wrong

    def _lose_session(self, why: str, now: float) -> None:
        """The service does not know this session any more: begin another one; what it held is void."""
        self._collect()
        lost = self._sent.num_rows + self._pending.drop_assigned()
        self._statistics.add("rows_undelivered", lost)
        self._statistics.add("sessions_lost")
        self._pending_since = now if self.num_pending else None
        self._demand.lose()
        self._flush_marks.clear()
        self._ids.next_epoch()
        self._begin_session()
        self.closed = self._closing and not self.num_pending
        self._say(
            "lost",
            f"the service lost this process's session of curriculum {self.curriculum_name!r} ({why}): {lost} reports "
            "were not delivered, and episodes under way will not be counted",
        )

    def _mend(self, sequence: int) -> None:
        """The service refused the batch that it had to apply next: send one without what may be at fault instead."""
        refused, self._refused = self._refused, None
        sent = self._sent.get(sequence)
        if refused is None or sent is None:
            return
        batch = sent.message.batch
        self._demand.withdraw(batch.num_tasks)
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
        self._collect()
        self.fatal = failure
        self.refuses = True
        self._link.must_reconnect = self._link.state is not Connection.DOWN
        lost = self.num_undelivered
        self._statistics.add("rows_undelivered", lost)
        if lost:
            self._say("fatal", f"{lost} reports were not delivered: {failure.code}: {failure.details}")
        self._pending = PendingReports(self._format)
        self._sent.clear()
        self._flush_marks.clear()
        self.closed = self.closed or self._closing
