"""How many tasks a session asks for, and when: what it holds, what is on its way, and who waits."""

from __future__ import annotations

import numpy as np

from syllabus_client.local_ids import LocalIds
from syllabus_client.prefetch import Prefetch
from syllabus_client.ready_tasks import TRAIN, ReadyTasks, TaskColumns
from syllabus_client.settings import SessionSettings
from syllabus_client.wire import curriculum_pb2 as pb
from syllabus_client.wire.codec import from_tensor

_SHORT_BACKOFF_INITIAL = 0.02  # seconds until a short reply's missing tasks are asked for again
_SHORT_BACKOFF_MAX = 0.5


class TaskDemand:
    """Keeps ``ready`` filled to the prefetch target, within the service's bound on open assignments.

    Deterministic: the time, in seconds, comes with each call.

    Attributes:
        ready: tasks that can be taken.
        environments: how many environments take tasks.
        waiting: tasks that somebody waits for.
        max_open: most assignments that the session may hold.
        max_per_request: most tasks in one request.
        stopped: whether no more tasks are wanted.
    """

    def __init__(self, settings: SessionSettings) -> None:
        self.ready = ReadyTasks()
        self.prefetch = Prefetch(settings.prefetch, settings.max_prefetch, settings.max_latency)
        self.environments = 0
        self.waiting = 0
        self.max_open = 1
        self.max_per_request = 1
        self.stopped = False
        self._max_latency = settings.max_latency
        self._in_flight = 0
        self._held = 0  # assignments taken, whose end is not in an answered batch
        self._since: float | None = None  # when the demand that is not asked for yet began
        self._short_until = 0.0
        self._short_backoff = _SHORT_BACKOFF_INITIAL

    def lose(self) -> None:
        """The service has forgotten the session: what it held is void."""
        self.ready.clear()
        self._in_flight = self._held = 0
        self._since = None
        self._short_until = 0.0

    def taken(self, k: int, now: float) -> float:
        """Tasks were taken. When a refill is due."""
        self._held += k
        soon_used = self.prefetch.used(k, now)
        if self._since is None:
            self._since = now
        return now if self._runs_short(soon_used) else now + self._max_latency

    def wanted(self, now: float) -> int:
        """How many tasks to ask for."""
        if self.stopped:
            return 0
        coming = self.ready.count + self._in_flight
        wanted = max(self.prefetch.target(self.environments, now), self.waiting) - coming
        room = self.max_open - self._held - coming
        return max(0, min(wanted, room, self.max_per_request))

    def ask_at_once(self, now: float) -> None:
        """What is wanted now was wanted before: it waits for nothing more."""
        self._since = now - self._max_latency

    def update(self, now: float) -> int:
        """Note whether tasks are wanted from now on; how many."""
        wanted = self.wanted(now)
        if not wanted:
            self._since = None
        elif self._since is None:
            self._since = now
        return wanted

    def due(self, now: float, *, with_reports: bool) -> float | None:
        """When to ask; None where nothing is wanted. ``with_reports``: whether rows wait to be sent, too."""
        if self._since is None or not self.wanted(now):
            return None
        at = now if self._runs_short(self.prefetch.used_during_refill(now)) else self._since + self._max_latency
        # What was reported may have given a curriculum that was short of tasks some: it is asked again at once.
        return at if with_reports else max(at, self._short_until)

    def ask(self, wanted: int, now: float, *, with_reports: bool) -> int:
        """How many tasks the batch that leaves now asks for."""
        if not with_reports and now < self._short_until:
            return 0
        self._in_flight += wanted
        self._since = None
        return wanted

    def withdraw(self, asked: int) -> None:
        """A batch that asked for tasks will not be answered with any."""
        self._in_flight -= asked

    def ended(self, assignments: int) -> None:
        """Assignments have ended, as the service knows."""
        self._held = max(0, self._held - assignments)

    def answered(self, asked: int, tasks: TaskColumns | None, now: float) -> bool:
        """A reply brought these tasks. Whether it was short of what was asked for."""
        self._in_flight -= asked
        drawn = 0
        if tasks is not None:
            self.ready.put(tasks)
            drawn = len(tasks)
        if not asked:
            return False
        if drawn < asked:
            self._short_until = now + self._short_backoff
            self._short_backoff = min(_SHORT_BACKOFF_MAX, 2 * self._short_backoff)
            return True
        self._short_until = 0.0
        self._short_backoff = _SHORT_BACKOFF_INITIAL
        return False

    def _runs_short(self, soon_used: float) -> bool:
        """Whether somebody waits for a task, or is expected to before a refill that is not hurried has come."""
        coming = self.ready.count + self._in_flight
        return self.waiting > coming or coming + 1 <= soon_used


def read_tasks(tasks: pb.TaskBatch, ids: LocalIds, now: float) -> TaskColumns:
    """Tasks of a message that arrived now, with local ids. Raises InvalidFieldError."""
    wire_ids = from_tensor(tasks.assignment_id, "tasks.assignment_id").astype(np.uint64)
    encoded = from_tensor(tasks.task, "tasks.task")
    probabilities = None
    if tasks.HasField("probability"):
        probabilities = from_tensor(tasks.probability, "tasks.probability")
    k = len(wire_ids)
    purposes = np.full(k, TRAIN, np.uint8)
    if len(tasks.purpose) == k:
        purposes = np.array(tasks.purpose, np.uint8)
        purposes[purposes == pb.PURPOSE_UNSPECIFIED] = TRAIN
    positions = np.full(k, tasks.position, np.uint64)
    return TaskColumns(ids.to_local(wire_ids), encoded, probabilities, purposes, positions, np.full(k, now))
