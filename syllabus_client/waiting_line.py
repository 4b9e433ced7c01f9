"""WaitingLine: those who wait for tasks take turns, first come, first served."""

from __future__ import annotations

import collections
import time
from collections.abc import Callable
from typing import TypeVar

import numpy as np

from syllabus_client.errors import TaskTimeoutError
from syllabus_client.ready_tasks import Assignment, ReadyTasks, TaskColumns
from syllabus_client.session import Connection
from syllabus_client.settings import SessionSettings
from syllabus_client.stream_shell import StreamShell

_clock = time.monotonic
_Tasks = TypeVar("_Tasks", Assignment, TaskColumns)


class WaitingLine:
    """Hands out the tasks of a session, or waits for them as ``settings.on_unavailable`` and ``timeout`` say.

    All methods but ``pop_one`` are called by who holds the shell's lock.
    """

    def __init__(self, shell: StreamShell, settings: SessionSettings) -> None:
        self._shell = shell
        self._settings = settings
        self._machine = shell.machine
        self._max_pending_rows = settings.max_pending_rows
        self._tickets: collections.deque[object] = collections.deque()
        self._last: Assignment | TaskColumns | None = None

    def pop_one(self) -> Assignment | None:
        """The next task, where it is at hand and nobody waits; None: ``take_one`` may have one. Needs no lock."""
        machine = self._machine
        if self._tickets or machine.num_pending >= self._max_pending_rows:
            return None
        task = machine.pop_task(_clock())
        if task is not None:
            self._last = task
        return task

    def take_one(self) -> Assignment:
        """The next task."""
        task = self._wait(1, self._machine.take_one, self._repeat_one)
        self._last = task
        return task

    def take(self, k: int) -> TaskColumns:
        """The next k tasks."""
        machine = self._machine
        tasks = self._wait(k, lambda now, waited: machine.take(k, now, waited), _repeat_many)
        self._last = tasks
        return tasks

    def _wait(
        self,
        k: int,
        take: Callable[[float, float | None], _Tasks | None],
        repeat: Callable[[Assignment | TaskColumns, int], _Tasks],
    ) -> _Tasks:
        """Take turns with the others who wait, until k tasks are there."""
        shell, machine, settings = self._shell, self._machine, self._settings
        started = _clock()
        waited: float | None = None
        ticket = object()
        self._tickets.append(ticket)
        try:
            while True:
                shell.raise_if_ended()
                now = _clock()
                if self._tickets[0] is ticket and machine.num_pending < self._max_pending_rows:
                    tasks = take(now, waited)
                    if tasks is not None:
                        shell.poke()
                        return tasks
                    if shell.is_away and settings.on_unavailable == "repeat_last" and self._last is not None:
                        machine.repeated(k)
                        return repeat(self._last, k)
                if shell.is_away and settings.on_unavailable == "raise":
                    raise shell.unavailable("is away, and no task is left", 0.0)
                if now >= started + settings.timeout:
                    raise self._no_task(k)
                if waited is None:
                    waited = 0.0
                    machine.waiting += k
                    shell.wake()
                shell.changed.wait(started + settings.timeout - now)
                waited = _clock() - started
        finally:
            self._tickets.remove(ticket)
            if waited is not None:
                machine.waiting -= k
            if self._tickets:
                shell.changed.notify_all()

    def _no_task(self, k: int) -> TaskTimeoutError:
        machine, target, timeout = self._machine, self._shell.target, self._settings.timeout
        if machine.connection is not Connection.OPEN:
            failure = machine.last_failure
            why = "the service cannot be reached" if failure is None else f"{failure.code}: {failure.details}"
        elif machine.num_pending >= self._max_pending_rows:
            why = f"{machine.num_pending} reports wait to be sent"
        else:
            why = f"the curriculum is short of tasks: {machine.num_ready} of {k} came"
        return TaskTimeoutError(
            f"no task of curriculum {target.curriculum!r} came from {target.address} within {timeout:g} s: {why}",
            target=target.address,
            code="DEADLINE_EXCEEDED",
        )

    def _repeat_one(self, last: Assignment | TaskColumns, k: int) -> Assignment:
        """The last task, without an assignment."""
        if isinstance(last, Assignment):
            return last._replace(id=0)
        tasks = ReadyTasks()
        tasks.decode = None if self._shell.space is None else self._shell.space.decode_many
        tasks.put(_repeat_many(last, k))
        tasks.open_window()
        return tasks.window[0][0]


def _repeat_many(last: Assignment | TaskColumns, k: int) -> TaskColumns:
    """The last task, k times, without assignments."""
    if isinstance(last, Assignment):
        encoded, probability, purpose, position = last.encoded, last.probability, last.purpose, last.position
    else:
        encoded, purpose, position = last.encoded[-1], last.purposes[-1], last.positions[-1]
        probability = None if last.probabilities is None else last.probabilities[-1]
    return TaskColumns(
        np.zeros(k, np.uint64),
        np.repeat(np.asarray(encoded)[np.newaxis], k, axis=0),
        None if probability is None else np.full(k, probability),
        np.full(k, purpose, np.uint8),
        np.full(k, position, np.uint64),
        np.full(k, _clock()),
    )
