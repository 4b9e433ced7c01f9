"""Session: one process's stream to a curriculum, shared by its environments."""

from __future__ import annotations

import contextlib
import os
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from syllabus_client.errors import BufferFullError
from syllabus_client.forks import lineage
from syllabus_client.ready_tasks import EVALUATE, TRAIN, Assignment
from syllabus_client.session import SessionMachine
from syllabus_client.session_registry import SessionRegistry
from syllabus_client.session_statistics import SessionStatistics
from syllabus_client.settings import SessionSettings
from syllabus_client.stream_shell import StreamShell
from syllabus_client.target import Target
from syllabus_client.task_spaces import TaskSpace
from syllabus_client.waiting_line import WaitingLine
from syllabus_client.wire import curriculum_pb2 as pb

__all__ = ["EVALUATE", "TRAIN", "Assignment", "Assignments", "Session", "open_session"]

_clock = time.monotonic


@dataclass(frozen=True, slots=True)
class Assignments:
    """k tasks, in columns."""

    ids: np.ndarray
    """uint64 (k,): names of the assignments; 0 for tasks that are repeated because the service is away."""
    encoded: np.ndarray
    """(k, *encoded_shape): encoded tasks."""
    purposes: np.ndarray
    """uint8 (k,): TRAIN (1) or EVALUATE (2)."""
    probabilities: np.ndarray | None
    """float64 (k,): probabilities with which they were drawn (NaN where not known), or None."""
    positions: np.ndarray
    """uint64 (k,): number of commands that the curriculum had applied when each was drawn."""


class Session:
    """One process's stream to a curriculum. Thread-safe; get one from ``open_session``.

    It connects in the background, keeps tasks ready, sends what is reported in batches, and sends again what was not
    answered after a lost connection or a restart of the service. Reports never wait for the network. It belongs to the
    process that opened it: in a forked child, open another one.
    """

    def __init__(self, target: Target, settings: SessionSettings) -> None:
        self.target = target
        self.settings = settings
        self._pid = os.getpid()
        self.generation = lineage.generation  #: which process opened it: see Lineage
        self._max_pending = 2 * settings.max_pending_rows
        self._shell = shell = StreamShell(target, settings)
        self._machine, self._lock, self._changed = shell.machine, shell.lock, shell.changed
        self._line = WaitingLine(shell, settings)

    @property
    def task_space(self) -> TaskSpace:
        """The curriculum's tasks. Waits for the service, at most ``settings.timeout``; then ServiceUnavailableError."""
        self._describe()
        if self._shell.space is None:
            raise self._shell.unavailable("did not describe its curriculum", self.settings.timeout)
        return self._shell.space

    @property
    def requires_step_updates(self) -> bool:
        """Whether environments must report steps. Waits as ``task_space`` does."""
        steps = self._shell.step_updates
        return self._describe().requires_step_updates if steps is None else steps

    def _describe(self) -> pb.Curriculum:
        """What the service says of the curriculum; waits for it."""
        shell = self._shell
        if shell.described is None:
            self._check_process()
            timeout = self.settings.timeout
            deadline = _clock() + timeout
            with self._lock:
                while shell.described is None:
                    shell.raise_if_ended()
                    if shell.is_away and self.settings.on_unavailable == "raise":
                        raise shell.unavailable("is away", 0.0)
                    if (remaining := deadline - _clock()) <= 0:
                        raise shell.unavailable("cannot be reached", timeout)
                    self._changed.wait(remaining)
        return shell.described

    @property
    def statistics(self) -> SessionStatistics:
        """Counters so far."""
        self._check_process()
        with self._lock:
            return self._machine.statistics()

    def add_environments(self, n: int = 1) -> None:
        """Tell how many more environments take tasks here: as many tasks are kept ready."""
        if n < 0:
            raise ValueError(f"n: expected at least 0 environments, got {n}")
        self._check_process()
        with self._lock:
            self._machine.environments += n
            self._shell.wake()

    def remove_environments(self, n: int = 1) -> None:
        """Tell how many environments are gone."""
        self._check_process()
        with self._lock:
            if not 0 <= n <= self._machine.environments:
                raise ValueError(f"n: expected 0 to {self._machine.environments} environments, got {n}")
            self._machine.environments -= n

    # Tasks

    def next_task(self) -> Assignment:
        """The next task. Normally at once; waits at most ``settings.timeout``.

        Raises:
            TaskTimeoutError: none came; names the target and what is the matter.
            ServiceUnavailableError: at once, when the service is away and ``on_unavailable`` is ``"raise"``.
            CurriculumServiceError: at once, when the service refuses this session (token, name of the curriculum).
        """
        if self.generation != lineage.generation:
            self._check_process()
        task = self._line.pop_one()
        if task is None:
            with self._lock:
                return self._line.take_one()
        if self._machine.wants_notice:
            self._notice()
        return task

    def next_tasks(self, k: int) -> Assignments:
        """The next k tasks, in columns: all of them, or an error as ``next_task`` raises. Callers take turns."""
        if k < 1:
            raise ValueError(f"k: expected at least 1 task, got {k}")
        self._check_process()
        with self._lock:
            tasks = self._line.take(k)
        return Assignments(tasks.ids, tasks.encoded, tasks.purposes, tasks.probabilities, tasks.positions)

    # Reports

    def report_episode(
        self,
        assignment_id: int,
        *,
        episode_return: float,
        length: int,
        progress: float,
        env_id: int,
        task: Any = None,
        metrics: Mapping[str, float] | None = None,
        agent_returns: Mapping[str, float] | None = None,
    ) -> None:
        """Report a finished episode; this ends its assignment. Never waits.

        An episode that is not valid (a return or metric that is not finite, a negative length, progress outside [0, 1])
        is not sent: it is counted as invalid, its assignment is released, and a warning is given once.

        Args:
            assignment_id: from ``next_task``; 0 for a task that was not handed out (then give ``task``).
            episode_return: sum of rewards, finite.
            length: number of steps, at least 0.
            progress: task completion in [0, 1].
            env_id: the environment, at least 0.
            task: the encoded task that was run; None: as assigned. Give it always or never: a change costs a batch.
            metrics: further scalars by name, finite, or NaN for none.
            agent_returns: return of each agent of a multi-agent environment.

        Raises BufferFullError where twice ``settings.max_pending_rows`` wait to be sent.
        """
        if self.generation != lineage.generation:
            self._check_process()
        machine = self._machine
        episode = (assignment_id, task, episode_return, length, progress, env_id, metrics, agent_returns)
        if not machine.offer_episode(*episode):
            with self._reporting():
                machine.report_episode(_clock(), *episode)
        elif machine.wants_notice:
            self._notice()

    def report_episodes(
        self,
        assignment_ids: np.ndarray,
        tasks: np.ndarray | None,
        episode_returns: np.ndarray,
        lengths: np.ndarray,
        progress: np.ndarray,
        env_ids: np.ndarray,
        metrics: Mapping[str, np.ndarray] | None = None,
        agent_returns: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        """Report n finished episodes in columns: uint64, the space's encoding, float64, int64, float64, int64.

        ``metrics`` and ``agent_returns`` are float64 each, NaN where an episode has no value.
        Rows that are not valid are treated as ``report_episode`` treats them; the others are sent.
        """
        columns = self._columns(
            assignment_ids,
            tasks,
            episode_return=(episode_returns, np.float64),
            length=(lengths, np.int64),
            progress=(progress, np.float64),
            env_id=(env_ids, np.int64),
        )
        extras = [
            {name: _column(name, values, np.float64, len(assignment_ids)) for name, values in (group or {}).items()}
            for group in (metrics, agent_returns)
        ]
        with self._reporting() as machine:
            machine.report_episodes(_clock(), columns, *extras)

    def report_progress(self, assignment_id: int, task: Any, progress: float, env_id: int) -> None:
        """Report the task completion, in [0, 1], of an episode under way. ``task`` as in ``report_episode``."""
        with self._reporting() as machine:
            machine.report_progress(_clock(), assignment_id, task, progress, env_id)

    def report_steps(
        self,
        assignment_ids: np.ndarray,
        tasks: np.ndarray | None,
        rewards: np.ndarray,
        terminated: np.ndarray,
        truncated: np.ndarray,
        env_ids: np.ndarray,
        arrays: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        """Report s environment steps in columns; does nothing unless the curriculum requires step updates.

        ``arrays`` holds further columns (s, ...) by name, the same names, shapes and dtypes in every call.
        """
        described = self._shell.described
        if described is None or not described.requires_step_updates:
            return
        columns = self._columns(
            assignment_ids,
            tasks,
            reward=(rewards, np.float64),
            terminated=(terminated, np.bool_),
            truncated=(truncated, np.bool_),
            env_id=(env_ids, np.int64),
        )
        extras = {name: _column(name, values, None, len(assignment_ids)) for name, values in (arrays or {}).items()}
        with self._reporting() as machine:
            machine.report_steps(_clock(), columns, extras)

    def release(self, assignment_ids: Sequence[int] | np.ndarray) -> None:
        """Give assignments back that will not be run to an end. They go to the curriculum's ``on_abandoned``."""
        with self._reporting() as machine:
            machine.release(_clock(), np.asarray(assignment_ids, np.uint64))

    def _columns(
        self, assignment_ids: np.ndarray, tasks: np.ndarray | None, **others: tuple[np.ndarray, Any]
    ) -> dict[str, np.ndarray]:
        rows = len(assignment_ids)
        columns = {"assignment_id": np.asarray(assignment_ids, np.uint64)}
        if tasks is not None:
            dtype = None if self._shell.space is None else self._shell.space.encoded_dtype
            columns["task"] = _column("tasks", tasks, dtype, rows)
        return columns | {name: _column(name, values, dtype, rows) for name, (values, dtype) in others.items()}

    @contextlib.contextmanager
    def _reporting(self) -> Iterator[SessionMachine]:
        self._check_process()
        with self._lock:
            if self._machine.num_pending >= self._max_pending:
                raise self._full()
            yield self._machine
            self._shell.poke()
        if self._machine.has_notices:
            self._warn()

    def _notice(self) -> None:
        """Let the machine see what was taken or reported, and the sender what that makes due."""
        with self._lock:
            self._machine.notice(_clock())
            self._shell.poke()

    def _full(self) -> BufferFullError:
        pending = self._machine.num_pending
        return BufferFullError(
            f"{pending} reports wait to be sent to {self.target.address}, and at most {self._max_pending} may: this "
            "one was refused",
            target=self.target.address,
            code="RESOURCE_EXHAUSTED",
        )

    def _warn(self) -> None:
        """Tell the caller of a report what is the matter with it."""
        with self._lock:
            notices = self._machine.take_notices()
        for notice in notices:
            warnings.warn(f"curriculum {self.target.curriculum!r}: {notice}", RuntimeWarning, stacklevel=3)

    # Delivery

    def flush(self, timeout: float | None = None) -> None:
        """Wait until all that was reported is in the service's journal; at most ``timeout`` (``settings.timeout``).

        Raises ServiceUnavailableError, with how much is not delivered.
        """
        self._check_process()
        timeout = self.settings.timeout if timeout is None else timeout
        deadline = _clock() + timeout
        with self._lock:
            machine = self._machine
            given_up = machine.statistics().rows_undelivered
            mark = machine.flush()
            self._shell.wake()
            try:
                while not machine.delivered(mark):
                    self._shell.raise_if_ended()
                    if (remaining := deadline - _clock()) <= 0:
                        raise self._shell.unavailable(f"has not answered {machine.num_undelivered} reports", timeout)
                    self._changed.wait(remaining)
                self._shell.raise_if_ended()
            finally:
                machine.forget(mark)
            lost = machine.statistics().rows_undelivered - given_up
            if lost:
                raise self._shell.unavailable(f"lost this session: {lost} reports were not delivered", timeout)

    def close(self, timeout: float | None = None) -> None:
        """Let go of the session; the last to do so flushes and ends it, within ``timeout`` (``settings.timeout``).

        Each ``open_session`` is matched by one ``close``. What could not be delivered is counted and said in a warning.
        """
        if self.generation == lineage.generation and _registry.let_go(self):
            self._end(self.settings.timeout if timeout is None else timeout)

    def _end(self, timeout: float) -> None:
        """Flush, end the session, the threads and the channel, within about ``timeout`` seconds."""
        deadline = _clock() + timeout
        machine = self._machine
        try:
            with self._lock:
                machine.close()
                self._shell.wake()
                while not (machine.closed or machine.fatal or (remaining := deadline - _clock()) <= 0):
                    self._changed.wait(remaining)
        finally:
            left = self._shell.stop()
        if left:
            warnings.warn(
                f"{left} reports were not delivered to curriculum {self.target.curriculum!r} at {self.target.address} "
                f"within {timeout:g} s",
                RuntimeWarning,
                stacklevel=3,
            )

    # Forks

    def pause(self) -> None:
        """Disconnect and stay so, for the sake of a fork; returns when nothing of gRPC's is at work here."""
        self._shell.pause()

    def resume(self) -> None:
        """Connect again, and go on where the session was."""
        self._shell.resume()

    def _check_process(self) -> None:
        if self.generation != lineage.generation:
            raise RuntimeError(
                f"this session belongs to process {self._pid}: call open_session in each process that uses one"
            )


def open_session(
    target: str | None = None,
    *,
    curriculum: str | None = None,
    token: str | None = None,
    settings: SessionSettings | None = None,
) -> Session:
    """The process's session of (target, curriculum, token, settings): the same object for all, until all closed it.

    Arguments win over SYLLABUS_TARGET, SYLLABUS_CURRICULUM and SYLLABUS_TOKEN. Does not wait: it connects in the
    background. Raises ValueError, naming what is missing, where no service can be looked for.
    """
    resolved = Target.resolve(target, curriculum=curriculum, token=token)
    settings = settings or SessionSettings()
    return _registry.open((resolved, settings), lambda: Session(resolved, settings))


def _end_at_exit(sessions: list[Session]) -> None:
    """Deliver what is pending when the process ends; all sessions share the longest of their bounds."""
    started = _clock()
    bound = max((session.settings.exit_timeout for session in sessions), default=0.0)
    for session in sessions:
        session._end(max(0.0, min(session.settings.exit_timeout, started + bound - _clock())))


_registry: SessionRegistry[Session] = SessionRegistry(_end_at_exit)


def _column(name: str, values: Any, dtype: Any, rows: int) -> np.ndarray:
    array = np.asarray(values, dtype)
    if array.ndim == 0 or len(array) != rows:
        raise ValueError(f"{name}: expected {rows} rows, got an array of shape {array.shape}")
    return array
