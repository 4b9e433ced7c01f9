"""How many tasks a session asks for, and when: what it holds, what is on its way, and who waits."""

from __future__ import annotations

import math

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
        self._ended = 0  # of the assignments that were taken, how many have ended, as the service knows
        self._counted = 0  # of the tasks that were taken, how many the rate of use knows
        self._since: float | None = None  # when the demand that is not asked for yet began
        self._short_until = 0.0
        self._short_backoff = _SHORT_BACKOFF_INITIAL

    def lose(self) -> None:
        """The service has forgotten the session: what it held is void."""
        self.ready.clear()
        self._in_flight = self._ended = self._counted = 0
        self._since = None
        self._short_until = 0.0

    @property
    def is_noted(self) -> bool:
        """Whether there is a demand that is not asked for yet."""
        return self._since is not None

    def count_taken(self, now: float) -> None:
        """Note how many tasks were taken since this was done last."""
        taken = self.ready.num_taken
        if taken != self._counted:
            self.prefetch.used(taken - self._counted, now)
            self._counted = taken

    def low_mark(self, now: float) -> int:
        """With how many ready tasks a refill is to be hurried; below 0: with none."""
        if self._in_flight:
            return -1
        return math.floor(self.prefetch.low_mark(self.environments, now)) - 1

    def wanted(self, now: float) -> int:
        """How many tasks to ask for."""
        self.count_taken(now)
        if self.stopped:
            return 0
        wanted = max(self.prefetch.target(self.environments, now), self.waiting) - self.ready.count - self._in_flight
        room = self.max_open - (self.ready.num_put - self._ended) - self._in_flight
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
        at = now if self._runs_short(now) else self._since + self._max_latency
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
        self._ended = min(self.ready.num_taken, self._ended + assignments)

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

    @property
    def is_waited_for(self) -> bool:
        """Whether somebody waits for a task that is not on its way."""
        return self.waiting > self.ready.count + self._in_flight

    def _runs_short(self, now: float) -> bool:
        """Whether somebody waits, or is expected to before a refill has come that is neither on its way nor hurried."""
        return self.is_waited_for or self.ready.count <= self.low_mark(now)


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
