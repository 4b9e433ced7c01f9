"""Load: many sessions in a few processes, each with a connection and a stream of its own, on the raw protocol.

A session either keeps a number of batches in flight, so that it sends the next when one was answered, or sends on a
fixed schedule, whatever is answered. The answer to a batch brings tasks; a batch after it reports an episode of each
and asks for as many again. What is sent is built from answers, so it is no more than what a client could say; its
columns are those of a client.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any, Protocol

import grpc
import numpy as np

from syllabus_client.wire import curriculum_pb2 as pb
from syllabus_client.wire.codec import to_tensor
from syllabus_service.limits import Limits

_OPEN_SECONDS = 120.0
_MOST_OWED = Limits().max_unacknowledged_batches
_OPTIONS = [
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.enable_http_proxy", 0),
]


class Exchange(Protocol):
    """What one session says: bytes up, bytes down."""

    method: str

    def opening(self) -> bytes | None:
        """The first message, which is answered by one; None: there is none."""

    def batch(self) -> tuple[bytes, int]:
        """The next batch, and its episodes: of the oldest answer that was not reported on, none where there is none."""

    def answered(self, answer: bytes) -> int:
        """Take an answer; returns the episodes that were answered."""


class MetricsExchange:
    """StreamMetrics: batches of ``rows`` episodes, with a draw of as many tasks."""

    method = "/syllabus.v1.CurriculumService/StreamMetrics"

    def __init__(self, curriculum: str, session_id: str, rows: int) -> None:
        self._curriculum, self._session_id, self._rows = curriculum, session_id, rows
        self._sequence = self._acknowledged = 0
        self._sent: dict[int, int] = {}
        self._tasks: deque[pb.TaskBatch] = deque()
        rng = np.random.default_rng(0)
        self._columns = pb.EpisodeBatch(
            episode_return=to_tensor(rng.random(rows)),
            length=to_tensor(rng.integers(1, 500, rows)),
            progress=to_tensor(np.round(rng.random(rows))),
            env_id=to_tensor(np.arange(rows)),
        )

    def opening(self) -> bytes | None:
        opening = pb.OpenSession(curriculum=self._curriculum, session_id=self._session_id)
        return pb.StreamMetricsRequest(open=opening).SerializeToString()

    def batch(self) -> tuple[bytes, int]:
        batch, episodes = pb.MetricsBatch(num_tasks=self._rows), 0
        if self._tasks:
            tasks, episodes = self._tasks.popleft(), self._rows
            batch.episodes.CopyFrom(self._columns)
            batch.episodes.assignment_id.CopyFrom(tasks.assignment_id)
            batch.episodes.task.CopyFrom(tasks.task)
        self._sequence += 1
        self._sent[self._sequence] = episodes
        message = pb.SessionBatch(sequence=self._sequence, acknowledged_sequence=self._acknowledged, batch=batch)
        return pb.StreamMetricsRequest(batch=message).SerializeToString(), episodes

    def answered(self, answer: bytes) -> int:
        reply = pb.StreamMetricsResponse.FromString(answer).reply
        if reply.rejections or reply.curriculum_error:
            raise RuntimeError(f"rows were not counted: {len(reply.rejections)}, {reply.curriculum_error}")
        return self._took(reply)

    def _took(self, reply: pb.BatchReply) -> int:
        self._tasks.append(reply.tasks)
        self._acknowledged = reply.sequence
        return self._sent.pop(reply.sequence)


class BuildingEchoExchange(MetricsExchange):
    """MetricsExchange with an echo that answers with ``reply``: what its side of the messages costs the load."""

    method = "/benchmark.Echo/Stream"

    def opening(self) -> bytes | None:
        return None

    def _took(self, reply: pb.BatchReply) -> int:
        self._tasks.append(reply.tasks)
        return self._rows


class EchoExchange:
    """As many bytes up and down as MetricsExchange with that many rows, and nothing done with them."""

    method = "/benchmark.Echo/Stream"

    def __init__(self, curriculum: str, session_id: str, rows: int) -> None:
        self._request, self._rows = bytes(request_size(rows)), rows

    def opening(self) -> bytes | None:
        return None

    def batch(self) -> tuple[bytes, int]:
        return self._request, self._rows

    def answered(self, answer: bytes) -> int:
        return self._rows


def request_size(rows: int) -> int:
    """Bytes of a batch of MetricsExchange."""
    exchange = MetricsExchange("benchmark", "session", rows)
    exchange.batch()
    exchange.answered(_reply(rows, sequence=1))
    return len(exchange.batch()[0])


def reply(rows: int) -> bytes:
    """Such as the answer to it."""
    return _reply(rows, sequence=10_000)


def _reply(rows: int, sequence: int) -> bytes:
    answer = pb.BatchReply(sequence=sequence, tasks=_tasks(rows), position=1_000_000)
    return pb.StreamMetricsResponse(reply=answer).SerializeToString()


def _tasks(rows: int) -> pb.TaskBatch:
    return pb.TaskBatch(
        assignment_id=to_tensor(np.arange(1, rows + 1, dtype=np.uint64)),
        task=to_tensor(np.arange(rows)),
        probability=to_tensor(np.full(rows, 0.001)),
        position=1_000_000,
    )


@dataclass(frozen=True)
class LoadSettings:
    """What load there is."""

    targets: Sequence[str]
    """Servers; sessions take turns between them."""
    curricula: Sequence[str]
    """Sessions of one server take turns between them."""
    sessions: int
    """In all processes together."""
    rows: int
    """Episodes of a batch."""
    in_flight: int = 1
    """Batches of a session without an answer, where each is sent when one was answered."""
    every: float = 0.0
    """Seconds from one batch of a session to its next, on a schedule that waits for no answer; 0: as ``in_flight``."""
    processes: int = 1
    exchange: type[Any] = MetricsExchange
    name: str = "load"
    """Session ids begin with it."""


@dataclass(frozen=True)
class Told:
    """What a load process tells at its end."""

    sent: int
    """Episodes that were sent; all were answered."""
    latencies: np.ndarray
    """float64 (n, 2): when each batch was due (time.monotonic), and the seconds from then to its answer."""
    errors: Sequence[str] = ()


class Load:
    """Sessions that run from the end of ``start`` to ``stop``.

    Args:
        settings: which.
    """

    def __init__(self, settings: LoadSettings) -> None:
        self._settings = settings
        context = multiprocessing.get_context("spawn")
        self._answered = context.RawArray("q", settings.sessions)
        self._children: list[tuple[Any, Connection]] = []
        for number in range(settings.processes):
            ours, theirs = context.Pipe()
            arguments = (theirs, settings, number, self._answered)
            self._children.append((context.Process(target=_child, args=arguments, daemon=True), ours))

    def start(self, opened: Callable[[], None] = lambda: None) -> None:
        """Open all sessions, call ``opened``, and let them begin."""
        for child, _ in self._children:
            child.start()
        for _, pipe in self._children:
            pipe.recv()  # it has imported what it needs
        for _, pipe in self._children:
            pipe.send("open")
        for _, pipe in self._children:
            if error := pipe.recv():
                raise RuntimeError(f"the load did not start: {error}")
        opened()
        for _, pipe in self._children:
            pipe.send("go")

    def answered(self) -> np.ndarray:
        """int64 (sessions,): episodes of each session that the service has acknowledged so far."""
        return np.array(self._answered, np.int64)

    def stop(self) -> Told:
        """Send nothing more, wait for all answers, and end."""
        for _, pipe in self._children:
            pipe.send("stop")
        told: list[Told] = [pipe.recv() for _, pipe in self._children]
        for child, _ in self._children:
            child.join()
        return Told(
            sum(each.sent for each in told),
            np.concatenate([each.latencies for each in told]),
            [error for each in told for error in each.errors],
        )


def _child(pipe: Connection, settings: LoadSettings, number: int, answered: Any) -> None:
    mine = range(number, settings.sessions, settings.processes)
    pipe.send("ready")
    pipe.recv()
    pipe.send(asyncio.run(_run(pipe, settings, mine, answered)))


async def _run(pipe: Connection, settings: LoadSettings, mine: range, answered: Any) -> Told:
    loop = asyncio.get_running_loop()
    sessions = [_Session(settings, number, answered) for number in mine]
    opened = await asyncio.gather(*(session.open() for session in sessions), return_exceptions=True)
    failed = [str(each) for each in opened if isinstance(each, BaseException)]
    pipe.send(failed[0] if failed else "")
    await loop.run_in_executor(None, pipe.recv)
    running = [asyncio.create_task(session.run()) for session in sessions]
    await loop.run_in_executor(None, pipe.recv)
    for session in sessions:
        session.stop()
    ended = await asyncio.gather(*running, return_exceptions=True)
    await asyncio.gather(*(session.close() for session in sessions))
    return Told(
        sum(session.sent for session in sessions),
        np.array([each for session in sessions for each in session.latencies], np.float64).reshape(-1, 2),
        [repr(each) for each in ended if isinstance(each, BaseException)],
    )


@dataclass
class _Session:
    settings: LoadSettings
    number: int
    answered: Any
    sent: int = 0
    latencies: list[tuple[float, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        settings = self.settings
        turn, place = divmod(self.number, len(settings.targets))
        self._target = settings.targets[place]
        curriculum = settings.curricula[turn % len(settings.curricula)]
        self._exchange: Exchange = settings.exchange(curriculum, f"{settings.name}-{self.number}", settings.rows)
        self._outbox: asyncio.Queue[bytes] = asyncio.Queue()
        self._due: deque[float] = deque()
        self._owed: asyncio.Queue[float | None] = asyncio.Queue()
        self._num_owed = 0
        self._no_more = False
        self._stopped = asyncio.Event()

    async def open(self) -> None:
        self._channel = grpc.aio.insecure_channel(self._target, options=_OPTIONS)
        await asyncio.wait_for(self._channel.channel_ready(), _OPEN_SECONDS)
        self._call = self._channel.stream_stream(self._exchange.method)()
        if (opening := self._exchange.opening()) is not None:
            await self._call.write(opening)
            await asyncio.wait_for(self._call.read(), _OPEN_SECONDS)

    def stop(self) -> None:
        self._stopped.set()

    async def run(self) -> None:
        """Until all is answered after ``stop``."""
        beside = [asyncio.create_task(self._write()), asyncio.create_task(self._begin())]
        try:
            while (due := await self._owed.get()) is not None:
                answer = await self._call.read()
                if answer is grpc.aio.EOF:
                    raise RuntimeError(f"the stream ended: {await self._call.code()} {await self._call.details()}")
                now = time.monotonic()
                self.latencies.append((due, now - due))
                self.answered[self.number] += self._exchange.answered(answer)
                self._num_owed -= 1
                if not self.settings.every and not self._stopped.is_set():
                    self._due.append(now)
                self._send_due()
        finally:
            for task in beside:
                task.cancel()

    async def close(self) -> None:
        await self._channel.close()

    async def _begin(self) -> None:
        """Say when batches are due that wait for no answer and, once stopped, that no more will be."""
        every = self.settings.every
        if every:
            due = time.monotonic() + every * (self.number % 97) / 97  # they do not all begin in one moment
            while not await self._stopped_before(due):
                self._due.append(due)
                self._send_due()
                due += every
        else:
            self._due.extend([time.monotonic()] * self.settings.in_flight)
            self._send_due()
            await self._stopped.wait()
        self._no_more = True
        self._send_due()

    def _send_due(self) -> None:
        """Send what is due, as far as the service allows; what must wait here is late from when it was due."""
        while self._due and self._num_owed < _MOST_OWED:
            message, episodes = self._exchange.batch()
            self._owed.put_nowait(self._due.popleft())
            self._num_owed += 1
            self.sent += episodes
            self._outbox.put_nowait(message)
        if self._no_more and not self._due:
            self._owed.put_nowait(None)

    async def _write(self) -> None:
        """Apart from reading: where flow control stops it, answers are read on."""
        while True:
            await self._call.write(await self._outbox.get())

    async def _stopped_before(self, moment: float) -> bool:
        """Wait until then."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopped.wait(), max(0.0, moment - time.monotonic()))
        return self._stopped.is_set()
