"""Session: one process's stream to a curriculum, shared by its environments; the shell around SessionMachine."""

from __future__ import annotations

import collections
import contextlib
import logging
import math
import os
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import grpc
import numpy as np

from syllabus_client.errors import (
    BufferFullError,
    CurriculumServiceError,
    ServiceUnavailableError,
    TaskTimeoutError,
    from_status,
    status_of,
)
from syllabus_client.ready_tasks import EVALUATE, TRAIN, ReadyTask, ReadyTasks, TaskColumns
from syllabus_client.session import Connection, SessionMachine
from syllabus_client.session_registry import SessionRegistry
from syllabus_client.session_statistics import SessionStatistics
from syllabus_client.settings import SessionSettings
from syllabus_client.target import Target
from syllabus_client.task_spaces import TaskSpace
from syllabus_client.wire import curriculum_pb2 as pb
from syllabus_client.wire import curriculum_pb2_grpc as pb_grpc

__all__ = ["EVALUATE", "TRAIN", "Assignment", "Assignments", "Session", "open_session"]

_log = logging.getLogger(__name__)
_clock = time.monotonic
_Tasks = TypeVar("_Tasks", ReadyTask, TaskColumns)
_JOIN_TIMEOUT = 2.0  # seconds for threads to end once their stream is cancelled


@dataclass(frozen=True, slots=True)
class Assignment:
    """One task for one episode of one environment."""

    id: int
    """Names the assignment to this session; 0 for a task that is repeated because the service is away."""
    encoded: Any
    """The encoded task: an int where the encoding is an id, otherwise an array of the space's ``encoded_shape``."""
    task: Any
    """The decoded task, for the environment's ``reset(new_task=...)``."""
    purpose: int
    """TRAIN (1) or EVALUATE (2)."""
    probability: float | None
    """Probability with which the task was drawn; None where the curriculum has no distribution."""
    position: int
    """Number of commands that the curriculum had applied when the task was drawn."""


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


class _Stream:
    """One opening of the stream, from its request iterator's point of view."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.call: Any = None
        self.cancelled = False

    def requests(self) -> Iterator[pb.StreamMetricsRequest]:
        """What to send, as it becomes due. Runs in a thread of gRPC's; ends when the stream has."""
        while messages := self._session._wait_for_messages(self):
            yield from messages

    def cancel(self) -> None:
        """End the stream, whether it has begun or not."""
        self.cancelled = True
        if self.call is not None:
            self.call.cancel()


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
        self._machine = SessionMachine(target.curriculum, settings)
        self._lock = threading.Lock()
        self._sender = threading.Condition(self._lock)  # wakes the thread that sends, or the one that connects
        self._changed = threading.Condition(self._lock)  # wakes those who wait for tasks, delivery or the handshake
        self._asleep_until = -math.inf
        self._tickets: collections.deque[object] = collections.deque()
        self._stream: _Stream | None = None
        self._channel: grpc.Channel | None = None
        self._described: pb.Curriculum | None = None
        self._space: TaskSpace | None = None
        self._last: ReadyTask | TaskColumns | None = None
        self._problem: CurriculumServiceError | None = None
        self._stopped = False
        self._paused = False
        self._connected = False  # whether there is a channel, or a thread that is about to make one
        self._thread = threading.Thread(target=self._run, name=f"syllabus-session-{target.curriculum}", daemon=True)
        self._thread.start()

    @property
    def task_space(self) -> TaskSpace:
        """The curriculum's tasks. Waits for the service, at most ``settings.timeout``; then ServiceUnavailableError."""
        self._describe()
        if self._space is None:
            raise self._unavailable("did not describe its curriculum", self.settings.timeout)
        return self._space

    @property
    def requires_step_updates(self) -> bool:
        """Whether environments must report steps. Waits as ``task_space`` does."""
        return self._describe().requires_step_updates

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
            self._sender.notify_all()

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
        self._check_process()
        with self._lock:
            machine = self._machine
            task = None
            if not self._tickets and machine.num_pending < self.settings.max_pending_rows:
                task = machine.take_one(_clock())
            if task is None:
                task = self._wait_for_tasks(1, machine.take_one, self._repeat_one)
            else:
                self._poke()
            self._last = task
        return Assignment(task.id, task.encoded, task.decoded, task.purpose, task.probability, task.position)

    def next_tasks(self, k: int) -> Assignments:
        """The next k tasks, in columns: all of them, or an error as ``next_task`` raises. Callers take turns."""
        if k < 1:
            raise ValueError(f"k: expected at least 1 task, got {k}")
        self._check_process()
        with self._lock:
            machine = self._machine
            tasks = self._wait_for_tasks(k, lambda now, waited: machine.take(k, now, waited), _repeat_many)
            self._last = tasks
        return Assignments(tasks.ids, tasks.encoded, tasks.purposes, tasks.probabilities, tasks.positions)

    def _wait_for_tasks(
        self,
        k: int,
        take: Callable[[float, float | None], _Tasks | None],
        repeat: Callable[[ReadyTask | TaskColumns, int], _Tasks],
    ) -> _Tasks:
        """Take turns with the others who wait, until k tasks are there. Holds the lock."""
        machine, settings = self._machine, self.settings
        started = _clock()
        waited: float | None = None
        ticket = object()
        self._tickets.append(ticket)
        machine.waiting += k
        try:
            while True:
                self._raise_if_ended()
                now = _clock()
                if self._tickets[0] is ticket and machine.num_pending < settings.max_pending_rows:
                    tasks = take(now, waited)
                    if tasks is not None:
                        self._poke()
                        return tasks
                    if self._is_away and settings.on_unavailable == "repeat_last" and self._last is not None:
                        machine.repeated(k)
                        return repeat(self._last, k)
                if self._is_away and settings.on_unavailable == "raise":
                    raise self._unavailable("is away, and no task is left", 0.0)
                if now >= started + settings.timeout:
                    raise self._no_task(k)
                if waited is None:
                    self._sender.notify_all()
                self._changed.wait(started + settings.timeout - now)
                waited = _clock() - started
        finally:
            self._tickets.remove(ticket)
            machine.waiting -= k
            if self._tickets:
                self._changed.notify_all()

    def _repeat_one(self, last: ReadyTask | TaskColumns, k: int) -> ReadyTask:
        """The last task, without an assignment."""
        if isinstance(last, ReadyTask):
            return last._replace(id=0)
        tasks = ReadyTasks()
        tasks.decode = None if self._space is None else self._space.decode_many
        tasks.put(_repeat_many(last, k))
        return tasks.take_one()

    @property
    def _is_away(self) -> bool:
        return self._machine.connection is not Connection.OPEN and self._machine.last_failure is not None

    def _no_task(self, k: int) -> TaskTimeoutError:
        machine, timeout = self._machine, self.settings.timeout
        if machine.connection is not Connection.OPEN:
            failure = machine.last_failure
            why = "the service cannot be reached" if failure is None else f"{failure.code}: {failure.details}"
        elif machine.num_pending >= self.settings.max_pending_rows:
            why = f"{machine.num_pending} reports wait to be sent"
        else:
            why = f"the curriculum is short of tasks: {machine.num_ready} of {k} came"
        return TaskTimeoutError(
            f"no task of curriculum {self.target.curriculum!r} came from {self.target.address} within {timeout:g} s: "
            f"{why}",
            target=self.target.address,
            code="DEADLINE_EXCEEDED",
        )

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
        self._check_process()
        machine = self._machine
        with self._lock:
            self._check_room()
            machine.report_episode(
                _clock(), assignment_id, task, episode_return, length, progress, env_id, metrics, agent_returns
            )
            self._poke()
        if machine.has_notices:
            self._warn()

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
        described = self._described
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
            dtype = None if self._space is None else self._space.encoded_dtype
            columns["task"] = _column("tasks", tasks, dtype, rows)
        return columns | {name: _column(name, values, dtype, rows) for name, (values, dtype) in others.items()}

    @contextlib.contextmanager
    def _reporting(self) -> Iterator[SessionMachine]:
        self._check_process()
        with self._lock:
            self._check_room()
            yield self._machine
            self._poke()
        if self._machine.has_notices:
            self._warn()

    def _check_room(self) -> None:
        pending, bound = self._machine.num_pending, 2 * self.settings.max_pending_rows
        if pending >= bound:
            raise BufferFullError(
                f"{pending} reports wait to be sent to {self.target.address}, and at most {bound} may: this one was "
                "refused",
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
            self._sender.notify_all()
            try:
                while not machine.delivered(mark):
                    self._raise_if_ended()
                    if (remaining := deadline - _clock()) <= 0:
                        raise self._unavailable(f"has not answered {machine.num_undelivered} reports", timeout)
                    self._changed.wait(remaining)
                self._raise_if_ended()
            finally:
                machine.forget(mark)
            lost = machine.statistics().rows_undelivered - given_up
            if lost:
                raise self._unavailable(f"lost this session: {lost} reports were not delivered", timeout)

    def close(self, timeout: float | None = None) -> None:
        """Let go of the session; the last to do so flushes and ends it, within ``timeout`` (``settings.timeout``).

        Each ``open_session`` is matched by one ``close``. What could not be delivered is counted and said in a warning.
        """
        if self._pid == os.getpid() and _registry.let_go(self):
            self._end(self.settings.timeout if timeout is None else timeout)

    def _end(self, timeout: float) -> None:
        """Flush, end the session, the threads and the channel, within about ``timeout`` seconds."""
        deadline = _clock() + timeout
        machine = self._machine
        try:
            with self._lock:
                machine.close()
                self._sender.notify_all()
                while not (machine.closed or machine.fatal or (remaining := deadline - _clock()) <= 0):
                    self._changed.wait(remaining)
        finally:
            with self._lock:
                self._stopped = True
                left = machine.num_undelivered
                if self._stream is not None:
                    self._stream.cancel()
                self._sender.notify_all()
                self._changed.notify_all()
            self._thread.join(_JOIN_TIMEOUT)
        if left:
            warnings.warn(
                f"{left} reports were not delivered to curriculum {self.target.curriculum!r} at {self.target.address} "
                f"within {timeout:g} s",
                RuntimeWarning,
                stacklevel=3,
            )

    # Threads

    def _run(self) -> None:
        """Open the stream, read what arrives, and open it again when it ends, until the session is over."""
        try:
            while (stream := self._wait_to_connect()) is not None:
                self._read(stream)
        finally:
            with self._lock:
                self._stopped = True
                self._disconnect()

    def _disconnect(self) -> None:
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.close()
        self._connected = False
        self._changed.notify_all()

    def pause(self) -> None:
        """Disconnect and stay so, for the sake of a fork; returns when nothing of gRPC's is at work here."""
        deadline = _clock() + _JOIN_TIMEOUT
        with self._lock:
            self._paused = True
            if self._stream is not None:
                self._stream.cancel()
            self._sender.notify_all()
            while self._connected and (remaining := deadline - _clock()) > 0:
                self._changed.wait(remaining)

    def resume(self) -> None:
        """Connect again, and go on where the session was."""
        with self._lock:
            self._paused = False
            self._sender.notify_all()

    def _wait_to_connect(self) -> _Stream | None:
        with self._lock:
            while not self._stopped and (at := self._machine.connect_at()) is not None:
                if self._paused:
                    self._disconnect()
                    self._sender.wait()
                    continue
                if (delay := at - _clock()) <= 0:
                    self._machine.connected(_clock())
                    self._connected = True
                    self._stream = _Stream(self)
                    return self._stream
                self._sender.wait(delay)
            return None

    def _read(self, stream: _Stream) -> None:
        code, details = "UNAVAILABLE", "the service ended the stream"
        try:
            if self._channel is None:
                self._channel = self.target.channel()
            stub = pb_grpc.CurriculumServiceStub(self._channel)
            stream.call = call = stub.StreamMetrics(stream.requests(), metadata=self.target.metadata)
            if stream.cancelled:
                call.cancel()
            for message in call:
                with self._lock:
                    self._receive(message)
                    if self._machine.must_reconnect or self._machine.closed:
                        stream.cancel()
        except grpc.RpcError as error:
            code, details, _ = status_of(error)
        except (OSError, ValueError) as error:  # a certificate that cannot be read, a channel that is closed
            code, details = "UNAVAILABLE", str(error)
        with self._lock:
            self._stream = None
            if self._paused:
                self._machine.paused(_clock())
            else:
                self._machine.disconnected(code, details, _clock())
            self._say_notices()
            self._sender.notify_all()
            self._changed.notify_all()

    def _receive(self, message: pb.StreamMetricsResponse) -> None:
        machine = self._machine
        machine.receive(message, _clock())
        if machine.curriculum is not self._described and machine.curriculum is not None:
            self._describe_as(machine.curriculum)
        self._say_notices()
        self._changed.notify_all()
        self._sender.notify_all()

    def _describe_as(self, curriculum: pb.Curriculum) -> None:
        try:
            space = TaskSpace.from_proto(curriculum.spec.task_space)
        except ValueError as error:
            self._problem = CurriculumServiceError(
                f"the task space of curriculum {self.target.curriculum!r} at {self.target.address} cannot be read: "
                f"{error}",
                target=self.target.address,
            )
            return
        self._machine.set_task_format(space.encoded_dtype, space.encoded_shape, space.decode_many)
        self._space, self._described = space, curriculum

    def _wait_for_messages(self, stream: _Stream) -> list[pb.StreamMetricsRequest]:
        """What is due to be sent on a stream; waits for it. Empty when the stream has ended."""
        with self._lock:
            machine = self._machine
            while self._stream is stream and not stream.cancelled:
                now = _clock()
                if messages := machine.poll(now):
                    return messages
                if machine.must_reconnect:
                    stream.cancel()
                    break
                at = machine.next_wakeup(now)
                self._asleep_until = math.inf if at is None else at
                self._sender.wait(None if at is None else max(0.0, at - now))
                self._asleep_until = -math.inf
        return []

    def _poke(self) -> None:
        """Wake the sending thread where it would sleep too long. Holds the lock."""
        if self._machine.due < self._asleep_until:
            self._asleep_until = -math.inf
            self._sender.notify_all()

    def _describe(self) -> pb.Curriculum:
        """What the service says of the curriculum; waits for it."""
        if self._described is None:
            self._check_process()
            timeout = self.settings.timeout
            deadline = _clock() + timeout
            with self._lock:
                while self._described is None:
                    self._raise_if_ended()
                    if self._is_away and self.settings.on_unavailable == "raise":
                        raise self._unavailable("is away", 0.0)
                    if (remaining := deadline - _clock()) <= 0:
                        raise self._unavailable("cannot be reached", timeout)
                    self._changed.wait(remaining)
        return self._described

    # Errors

    def _raise_if_ended(self) -> None:
        address = self.target.address
        if self._problem is not None:
            raise self._problem
        if (fatal := self._machine.fatal) is not None:
            raise from_status(fatal.code, fatal.details, target=address)
        if self._stopped or self._machine.closed:
            raise CurriculumServiceError(f"the session with {address} is closed", target=address, code="CANCELLED")

    def _unavailable(self, what: str, timeout: float) -> ServiceUnavailableError:
        failure = self._machine.last_failure
        why = "" if failure is None else f": {failure.code}: {failure.details}"
        waited = f" within {timeout:g} s" if timeout else ""
        return ServiceUnavailableError(
            f"the curriculum service at {self.target.address} {what}{waited}{why}",
            target=self.target.address,
            code="UNAVAILABLE",
        )

    def _check_process(self) -> None:
        if self._pid != os.getpid():
            raise RuntimeError(
                f"this session belongs to process {self._pid}: call open_session in each process that uses one"
            )

    def _say_notices(self) -> None:
        for notice in self._machine.take_notices():
            _log.warning("curriculum %r at %s: %s", self.target.curriculum, self.target.address, notice)


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


def _repeat_many(last: ReadyTask | TaskColumns, k: int) -> TaskColumns:
    """The last task, k times, without assignments."""
    if isinstance(last, ReadyTask):
        encoded, probability, purpose = last.encoded, last.probability, last.purpose
        position, arrived = last.position, last.arrived
    else:
        encoded, purpose, position = last.encoded[-1], last.purposes[-1], last.positions[-1]
        probability = None if last.probabilities is None else last.probabilities[-1]
        arrived = last.arrived[-1]
    return TaskColumns(
        np.zeros(k, np.uint64),
        np.repeat(np.asarray(encoded)[np.newaxis], k, axis=0),
        None if probability is None else np.full(k, probability),
        np.full(k, purpose, np.uint8),
        np.full(k, position, np.uint64),
        np.full(k, arrived),
    )


def _column(name: str, values: Any, dtype: Any, rows: int) -> np.ndarray:
    array = np.asarray(values, dtype)
    if array.ndim == 0 or len(array) != rows:
        raise ValueError(f"{name}: expected {rows} rows, got an array of shape {array.shape}")
    return array
