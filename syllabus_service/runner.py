"""CurriculumRunner: the thread of one curriculum; micro-batches, commits, snapshots, lease ticks."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import Any, TypeVar

import structlog
from google.protobuf.message import Message

from syllabus_client.task_spaces import TaskSpace
from syllabus_client.wire import curriculum_pb2 as pb
from syllabus_service.commands import Command
from syllabus_service.errors import FailedPrecondition, RequestError, Unavailable
from syllabus_service.host import CurriculumHost
from syllabus_service.inbox import Inbox
from syllabus_service.lease_clock import LeaseClock
from syllabus_service.metrics.runner_tallies import Readings, RunnerTallies
from syllabus_service.questions import answer
from syllabus_service.room import Room
from syllabus_service.sessions import Answer, Reply
from syllabus_service.state_codec import encode_state
from syllabus_service.store import (
    PositionConflictError,
    Store,
    StoreError,
    StoreFencedError,
    StoreUnavailableError,
)

_log = structlog.get_logger(__name__)

T = TypeVar("T")

# What comes while others are on their way through the loop goes to the thread with them. The loop needs about five
# turns for a unary RPC; an idle turn takes some 10 us.
_QUIET_TURNS = 6
_ENOUGH_ITEMS = 16  # beyond it, to wake the thread is a small part of its work
_ENOUGH_BYTES = 4096
_FIRST_RETRY_SECONDS = 0.05
_LONGEST_RETRY_SECONDS = 2.0


@dataclass(frozen=True)
class RunnerSettings:
    """How much is taken at once, how much may wait, and when snapshots are taken."""

    max_commands_per_commit: int = 256
    """Most commands in one micro-batch, which is one durable write."""
    max_bytes_per_commit: int = 32 * 1024 * 1024
    """A micro-batch takes no further command once its commands hold this many bytes."""
    max_queued_commands: int = 1024
    """Most commands of one curriculum that wait or are being applied; the next sender waits."""
    max_queued_bytes: int = 256 * 1024 * 1024
    """Most bytes of such commands."""
    snapshot_after_work_seconds: float = 1.25
    """A snapshot is taken when the commands since the last one took this long to apply. While it is being written, no
    more than as much again is applied, and then senders wait for it: a recovery has no more than that to replay,"""
    snapshot_after_commands: int = 1_000_000
    """or after this many commands,"""
    snapshot_after_bytes: int = 1024 * 1024 * 1024
    """or this many bytes of journal,"""
    snapshot_after_seconds: float = 300.0
    """or this long after the last one, if there were commands."""
    keep_snapshots: int = 3
    """How many snapshots are kept; the journal is kept back to the oldest of them."""
    tick_seconds: float = 1.0
    """Longest time between two looks at the leases; an eighth of the lease where that is less."""


@dataclass(frozen=True)
class Durable:
    """Where a curriculum is kept, and how it is brought back."""

    store: Store
    recover: Callable[[], CurriculumHost]
    """Makes the host anew from the store."""
    snapshot_writer: Executor
    """Where snapshots are written, beside the curriculum's own thread."""


@dataclass(frozen=True)
class _Submission:
    command: Command
    future: asyncio.Future[Reply]


@dataclass(frozen=True)
class _Reading:
    read: Callable[[CurriculumHost], Any]
    future: asyncio.Future[Any]


class _Marker:
    """Something for the thread itself."""


_TICK, _STOP = _Marker(), _Marker()
_Item = _Submission | _Reading | _Marker


class _StoppedError(Exception):
    """The runner was told to stop while it waited for its store."""


class CurriculumRunner:
    """One curriculum being served: takes commands from an event loop, applies and commits them in a thread of its own.

    The thread takes what has queued up as one micro-batch: apply, one durable append, then all answers in one call to
    the loop. When the store is away, the records are kept and tried again; nothing is acknowledged, what is queued and
    what comes is refused as Unavailable, and leases stand still. When the host fails (a bug of the service, not of the
    curriculum), its state is read again from the store and only the command that made it fail is refused.

    All public methods are called from the event loop.

    Args:
        name: the curriculum's name.
        incarnation: identity of its creation.
        spec: what it was made from.
        host: its state machine, recovered; the runner owns it from now on.
        durable: where it is kept; None: nowhere.
        settings: bounds and times.
        clock: seconds, monotonic.
        can_hear: whether sessions could reach the service lately; while they cannot, no lease runs.
        on_available_change: called in the loop when the store went away or came back.
    """

    def __init__(
        self,
        name: str,
        incarnation: int,
        spec: pb.CurriculumSpec,
        host: CurriculumHost,
        *,
        durable: Durable | None,
        settings: RunnerSettings,
        clock: Callable[[], float],
        can_hear: Callable[[], bool],
        on_available_change: Callable[[], None],
    ) -> None:
        self.name = name
        self.incarnation = incarnation
        self.spec = spec
        self.task_space: TaskSpace = host.task_space
        self.requires_step_updates = host.curriculum.requires_step_updates
        self.lease_seconds = host.lease_seconds
        self.committed = host.position
        """Number of commands that are in the journal."""
        self.tallies = RunnerTallies()
        """What it counts, for metrics."""
        self._brief_spec = pb.CurriculumSpec(algorithm=spec.algorithm, params=spec.params, seed=spec.seed)
        if spec.HasField("lease"):
            self._brief_spec.lease.CopyFrom(spec.lease)
        self._ended: RequestError | None = None
        self._away: RequestError | None = None
        self._host = host
        self._durable = durable
        self._snapshots = durable is not None
        self._keep = True
        self._finished = False
        self._settings = settings
        self._clock = clock
        self._can_hear = can_hear
        self._on_available_change = on_available_change
        self._loop = asyncio.get_running_loop()
        self._inbox: Inbox[_Item] = Inbox()
        self._gathering = False
        self._gathered_bytes = 0
        self._quiet_turns = 0
        self._heard: dict[str, None] = {}  # put in by the loop, taken out by the thread, one by one
        self._room = Room(settings.max_queued_commands, settings.max_queued_bytes)
        self._stopping = threading.Event()
        self._tick_seconds = min(settings.tick_seconds, host.lease_seconds / 8)
        self._leases = LeaseClock(clock(), max_step=2 * self._tick_seconds)
        self._next_tick = clock() + self._tick_seconds
        self._snapshot_position = host.position - host.num_replayed
        self._snapshot_bytes = 0
        # What a recovery had to replay, the next one will not: a snapshot is due at once.
        self._snapshot_work = settings.snapshot_after_work_seconds if host.num_replayed else 0.0
        self._unsaved_work = 0.0  # what is behind the last snapshot that was written, up to the last that was taken
        self._snapshot_saved = threading.Event()
        self._snapshot_saved.set()
        self._snapshot_time = clock()
        self._snapshot_job: Future[None] | None = None
        self.tallies.is_kept = durable is not None
        self.tallies.snapshot_position = self._snapshot_position
        self.tallies.state = host.counts()
        host.renew_leases(self._leases.time)
        self._thread = threading.Thread(target=self._run, name=f"curriculum-{name}", daemon=True)
        self._thread.start()

    # Called from the loop

    @property
    def refusal(self) -> RequestError | None:
        """Why every request is refused now, or None."""
        return self._ended or self._away

    @property
    def available(self) -> bool:
        """Whether requests are taken now."""
        return self.refusal is None

    def readings(self) -> Readings:
        """See ``ServedCurriculum``."""
        return self.tallies.read(self.committed)

    @property
    def ended(self) -> RequestError | None:
        """Why every request is refused from now on, for good, or None. Unavailable: another process has taken over."""
        return self._ended

    async def enqueue(self, command: Command) -> asyncio.Future[Reply]:
        """Queue a command; waits while there is no room. The future answers when the command is durable.

        Raises the RequestError of ``refusal``. The future raises the RequestError of a refused command.
        """
        self._check_serving()
        size = len(command.payload)
        if not self._room.enter_now(size):
            await self._room.enter(size)
            if self.refusal is not None:
                self._room.leave(1, size)
                raise self.refusal
        future: asyncio.Future[Reply] = self._loop.create_future()
        self.tallies.queued()
        self._gathered_bytes += size
        self._put(_Submission(command, future))
        return future

    async def submit(self, command: Command) -> Reply:
        """Queue a command and wait for its answer."""
        return await (await self.enqueue(command))

    async def read(self, read: Callable[[CurriculumHost], T]) -> T:
        """What ``read`` returns, called in the curriculum's thread between micro-batches: all it sees is durable."""
        self._check_serving()
        future: asyncio.Future[T] = self._loop.create_future()
        self._put(_Reading(read, future))
        return await future

    def touch(self, session_id: str) -> None:
        """Note that a session was heard: its lease starts anew at the next look at the leases."""
        self._heard[session_id] = None

    async def ask(self, question: Message) -> Message:
        """The answer to a question about the state; see ``questions``."""
        return await self.read(lambda host: answer(host, question))

    async def attach(self, session_id: str) -> int:
        """Begin a stream of a session: the last sequence of it that was applied.

        It is told behind whatever an older stream of the session has queued, so that it does not change any more.
        """
        self.touch(session_id)
        return await self.read(lambda host: host.applied_sequence(session_id))

    def detach(self, session_id: str) -> None:
        """A stream of a session has ended. Nothing follows from it here: there is no other door to come by."""

    async def describe(self, *, with_task_space: bool = True) -> pb.Curriculum:
        """The curriculum as a message."""
        message = pb.Curriculum(
            name=self.name,
            incarnation=self.incarnation,
            position=self.committed,
            requires_step_updates=self.requires_step_updates,
        )
        message.spec.CopyFrom(self.spec if with_task_space else self._brief_spec)
        return message

    def refuse(self, refusal: RequestError) -> None:
        """Refuse every request from now on, for good."""
        self._ended = refusal

    def stop(self, *, keep: bool = True) -> None:
        """Apply and commit what is queued, and end the thread. Blocks until it has ended, at most one write long.

        Args:
            keep: whether to take a last snapshot.
        """
        self._keep = keep
        self._stopping.set()
        self._inbox.put(_STOP)
        self._inbox.ring()
        self._thread.join()
        if self._snapshot_job is not None:
            self._snapshot_job.result()

    def _put(self, item: _Item) -> None:
        self._inbox.put(item)
        self._quiet_turns = 0
        if len(self._inbox) >= _ENOUGH_ITEMS or self._gathered_bytes >= _ENOUGH_BYTES:
            self._ring()
        elif not self._gathering:
            self._gathering = True
            self._loop.call_soon(self._gather)
        if self._finished:  # the thread may have looked into the inbox for the last time before
            self._refuse_queued(self.refusal or self._stopped_refusal())

    def _gather(self) -> None:
        """Wake the thread when nothing more has come for some turns of the loop."""
        if self._quiet_turns < _QUIET_TURNS:
            self._quiet_turns += 1
            self._loop.call_soon(self._gather)
            return
        self._gathering = False
        self._ring()

    def _ring(self) -> None:
        self._gathered_bytes = 0
        self._inbox.ring()

    def _stopped_refusal(self) -> RequestError:
        return Unavailable(f"curriculum {self.name} is being stopped")

    def _check_serving(self) -> None:
        if self.refusal is not None:
            raise self.refusal

    # The thread

    def _run(self) -> None:
        try:
            while self._step(self._take()):
                pass
            if self._keep:
                self._take_snapshot()
        except _StoppedError:
            _log.warning("stopped_without_store", curriculum=self.name, committed=self.committed)
        except (PositionConflictError, StoreFencedError) as error:
            # Another process serves it now; a client that tries again may reach that one.
            _log.error("curriculum_taken_over", curriculum=self.name, committed=self.committed, error=str(error))
            self._fail(Unavailable(f"curriculum {self.name} was taken over by another service: {error}"))
        except Exception as error:  # noqa: BLE001 - the thread's last word: logged, and told to whoever asks
            _log.exception("curriculum_failed", curriculum=self.name)
            self._fail(FailedPrecondition(f"curriculum {self.name} has failed and is not served: {error}"))
        finally:
            self._finished = True
            self._refuse_queued(self.refusal or self._stopped_refusal())

    def _take(self) -> list[_Item]:
        """Wait for something to do, and take what has queued up."""
        items: list[_Item] = []
        size = 0
        wait = self._next_tick - self._clock()
        if wait <= 0:  # behind what is queued, so that whoever has spoken is heard before leases are looked at
            self._next_tick = self._clock() + self._tick_seconds
            self._inbox.put(_TICK)
        else:
            self._inbox.wait(wait)
        settings = self._settings
        while (item := self._inbox.take()) is not None:
            items.append(item)
            size += len(item.command.payload) if isinstance(item, _Submission) else 0
            if len(items) >= settings.max_commands_per_commit or size >= settings.max_bytes_per_commit:
                self._inbox.ring()  # for what is left
                break
        return items

    def _step(self, items: list[_Item]) -> bool:
        """Apply, commit, read, answer. Returns whether to go on."""
        now = self._leases.advance(self._clock())
        submissions = [item for item in items if isinstance(item, _Submission)]
        try:
            answers = self._apply([each.command for each in submissions], now)
            done: list[tuple[asyncio.Future[Any], Any]] = [
                (each.future, answer) for each, answer in zip(submissions, answers, strict=True)
            ]
            done += [(item.future, self._read(item.read)) for item in items if isinstance(item, _Reading)]
        except Exception:
            self._answer_unavailable(items)
            raise
        self._answer(done, len(submissions), sum(len(each.command.payload) for each in submissions))
        if _TICK in items:
            self._end_leases(now)
        if self._snapshot_is_due():
            self._take_snapshot()
        if self._unsaved_work + self._snapshot_work >= 2 * self._settings.snapshot_after_work_seconds:
            self._snapshot_saved.wait()
        return _STOP not in items

    def _end_leases(self, now: float) -> None:
        self.tallies.state = self._host.counts()
        while self._heard:
            self._host.touch(self._heard.popitem()[0], now)
        if not self._can_hear():
            self._host.renew_leases(now)
            return
        if (expired := self._host.expire(now)) is not None:
            _log.info("leases_ran_out", curriculum=self.name, sessions=expired.body.expired)  # type: ignore[union-attr]
            self._apply([expired], now)

    def _apply(self, commands: Sequence[Command], now: float) -> list[Answer]:
        if not commands:
            return []
        try:
            return self._apply_together(commands, now)
        except (_StoppedError, StoreError):
            raise
        except Exception:  # noqa: BLE001 - logged, and the state is read again
            # The host itself failed, so its state may be half changed, and nothing of this micro-batch was journalled.
            _log.exception("apply_failed", curriculum=self.name, commands=len(commands))
            self._recover()
        answers: list[Answer] = []
        for command in commands:
            try:
                answers += self._apply_together([command], now)
            except (_StoppedError, StoreError):
                raise
            except Exception:  # noqa: BLE001 - logged, and its sender is told
                _log.exception("command_refused", curriculum=self.name, session_id=command.session_id)
                self._recover()
                answers.append(
                    FailedPrecondition("the service could not apply this request and has not; see the service's log")
                )
        return answers

    def _apply_together(self, commands: Sequence[Command], now: float) -> list[Answer]:
        started, work_before = time.perf_counter(), time.thread_time()
        batch = self._host.apply(commands, now)
        self._snapshot_work += time.thread_time() - work_before
        applied = time.perf_counter()
        for failure in batch.failures:
            _log.error(
                "curriculum_error",
                curriculum=self.name,
                session_id=failure.session_id,
                method=failure.method,
                error=failure.error,
                exception=failure.trace,
            )
        self._commit(batch.first_position, batch.records)
        self.tallies.batch(len(commands), started, applied)
        return batch.answers

    def _recover(self) -> None:
        """Forget the host's state, and read it again from the store."""
        durable = self._durable
        if durable is None:
            raise RuntimeError("its state may be half changed, and it is kept nowhere")
        self._host = self._until_store_answers(lambda again: durable.recover())
        self._host.renew_leases(self._leases.time)

    def _read(self, read: Callable[[CurriculumHost], Any]) -> Any:
        try:
            return read(self._host)
        except RequestError as refusal:
            return refusal
        except Exception:  # noqa: BLE001 - logged, and its sender is told
            _log.exception("read_failed", curriculum=self.name)
            return FailedPrecondition("the service could not read this curriculum; see the service's log")

    # Commits

    def _commit(self, first_position: int, records: Sequence[bytes]) -> None:
        """Make records durable; while the store is away, keep them and try again."""
        if self._durable is None or not records:
            self.committed += len(records)
            return
        store, last = self._durable.store, first_position - 1 + len(records)

        def append(again: bool) -> None:
            if not (again and store.last_position(self.name) == last):  # the first attempt may have succeeded
                store.append(self.name, first_position, records)

        self._until_store_answers(append)
        self.committed = last
        self._snapshot_bytes += sum(map(len, records))

    def _until_store_answers(self, attempt: Callable[[bool], T]) -> T:
        """What ``attempt`` returns, tried until the store is there. Its argument: whether it was tried before."""
        delay = _FIRST_RETRY_SECONDS
        again = False
        while True:
            try:
                result = attempt(again)
                break
            except StoreUnavailableError as error:
                self._set_away(error)
            again = True
            if self._stopping.wait(delay):
                raise _StoppedError
            delay = min(2 * delay, _LONGEST_RETRY_SECONDS)
            self._refuse_queued(self._away)
        if again:
            self._set_back()
        return result

    def _set_away(self, error: StoreUnavailableError) -> None:
        if self._away is None:
            _log.error("store_away", curriculum=self.name, error=str(error))
            self._away = Unavailable(f"curriculum {self.name} cannot be made durable now: {error}")
            self._call_in_loop(self._on_available_change)

    def _set_back(self) -> None:
        _log.warning("store_back", curriculum=self.name, committed=self.committed)
        self._away = None
        self._host.renew_leases(self._leases.advance(self._clock()))
        self._call_in_loop(self._on_available_change)

    def _fail(self, refusal: RequestError) -> None:
        self._ended = refusal
        self._call_in_loop(self._on_available_change)

    # Snapshots

    def _snapshot_is_due(self) -> bool:
        if not self._snapshots or self.committed == self._snapshot_position:
            return False
        if self._snapshot_job is not None and not self._snapshot_job.done():
            return False
        settings = self._settings
        return (
            self._snapshot_work >= settings.snapshot_after_work_seconds
            or self.committed - self._snapshot_position >= settings.snapshot_after_commands
            or self._snapshot_bytes >= settings.snapshot_after_bytes
            or self._clock() - self._snapshot_time >= settings.snapshot_after_seconds
        )

    def _take_snapshot(self) -> None:
        if self._durable is None or not self._snapshots or self.committed == self._snapshot_position:
            return
        position = self.committed
        try:
            captured = self._host.capture()
        except Exception as error:  # noqa: BLE001 - a state_dict may be anybody's code; logged
            self._cannot_be_saved(position, error)
            return
        self._snapshot_position, self._snapshot_time = position, self._clock()
        self._unsaved_work += self._snapshot_work
        self._snapshot_bytes, self._snapshot_work = 0, 0.0
        self._snapshot_saved.clear()
        self._snapshot_job = self._durable.snapshot_writer.submit(
            self._write_snapshot, self._durable.store, position, captured
        )

    def _cannot_be_saved(self, position: int, error: Exception) -> None:
        """Its journal is kept from here on, however long it becomes, and a restart replays it."""
        _log.warning(
            "curriculum_cannot_be_saved",
            curriculum=self.name,
            position=position,
            exc_info=None if isinstance(error, NotImplementedError) else error,
            error=str(error),
        )
        self._snapshots = False
        self.tallies.snapshots_given_up = True

    def _write_snapshot(self, store: Store, position: int, captured: dict[str, Any]) -> None:
        started = time.perf_counter()
        try:
            try:
                state = encode_state(captured)
                store.save_snapshot(self.name, position, state)
                self._unsaved_work = 0.0
            finally:
                self._snapshot_saved.set()
            store.trim(self.name, position, self._settings.keep_snapshots)
        except TypeError as error:  # of what a curriculum's state_dict has put into it
            self._cannot_be_saved(position, error)
        except StoreError as error:  # the journal has it all; the next snapshot will be tried in its time
            self.tallies.snapshot_failures += 1
            _log.warning("snapshot_not_written", curriculum=self.name, position=position, error=str(error))
        else:
            self.tallies.snapshot(position, len(state), started)
            _log.info("snapshot_written", curriculum=self.name, position=position, bytes=len(state))

    # Answers

    def _answer(self, done: list[tuple[asyncio.Future[Any], Any]], items: int, size: int) -> None:
        if done:
            self._call_in_loop(self._resolve, done, items, size, time.perf_counter())

    def _answer_unavailable(self, items: Sequence[_Item]) -> None:
        """Answer what was taken and will not be committed: nothing of it is acknowledged, and it may be sent again."""
        refusal = Unavailable(f"curriculum {self.name} stopped before the request was durable")
        submissions = [item for item in items if isinstance(item, _Submission)]
        done: list[tuple[asyncio.Future[Any], Any]] = [
            (item.future, refusal) for item in items if isinstance(item, (_Submission, _Reading))
        ]
        self._answer(done, len(submissions), sum(len(each.command.payload) for each in submissions))

    def _refuse_queued(self, refusal: RequestError | None) -> None:
        """Answer all that is queued with a refusal; none of it was applied."""
        items = list(iter(self._inbox.take, None))
        done: list[tuple[asyncio.Future[Any], Any]] = [
            (item.future, refusal) for item in items if isinstance(item, (_Submission, _Reading))
        ]
        submissions = [item for item in items if isinstance(item, _Submission)]
        self._answer(done, len(submissions), sum(len(each.command.payload) for each in submissions))
        if _STOP in items:
            self._inbox.put(_STOP)
            self._inbox.ring()

    def _resolve(self, done: list[tuple[asyncio.Future[Any], Any]], items: int, size: int, since: float) -> None:
        self._room.leave(items, size)
        for future, result in done:
            if future.done():  # its caller has gone
                continue
            if isinstance(result, RequestError):
                future.set_exception(result)
            else:
                future.set_result(result)
        self.tallies.answered(items, since)

    def _call_in_loop(self, call: Callable[..., None], *args: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(call, *args)
