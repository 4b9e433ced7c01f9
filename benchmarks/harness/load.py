"""Load: many sessions in a few processes, each with a connection and a stream of its own, on the raw protocol.

A session keeps a number of batches in flight. The answer to a batch brings tasks; the next batch reports an episode of
each and asks for as many again, at once or after a pause. What is sent is built from the answer, so the load is no
faster than what a client could say; its columns are those of a client.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any, Protocol

import grpc
import numpy as np

from syllabus_client.wire import curriculum_pb2 as pb
from syllabus_client.wire.codec import to_tensor

_OPEN_SECONDS = 120.0
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

    def first(self) -> bytes:
        """A batch that only asks for tasks."""

    def following(self, answer: bytes) -> tuple[bytes, int, int]:
        """The batch that follows an answer; its episodes; the episodes that were answered."""


class MetricsExchange:
    """StreamMetrics: batches of ``rows`` episodes, with a draw of as many tasks."""

    method = "/syllabus.v1.CurriculumService/StreamMetrics"

    def __init__(self, curriculum: str, session_id: str, rows: int) -> None:
        self._curriculum, self._session_id, self._rows = curriculum, session_id, rows
        self._sequence = 0
        self._sent: dict[int, int] = {}
        rng = np.random.default_rng(0)
        self._columns = pb.EpisodeBatch(
            episode_return=to_tensor(rng.random(rows)),
            length=to_tensor(rng.integers(1, 500, rows)),
            progress=to_tensor(np.round(rng.random(rows))),
            env_id=to_tensor(np.arange(rows)),
        )

    def opening(self) -> bytes:
        opening = pb.OpenSession(curriculum=self._curriculum, session_id=self._session_id)
        return pb.StreamMetricsRequest(open=opening).SerializeToString()

    def first(self) -> bytes:
        return self._message(pb.MetricsBatch(num_tasks=self._rows), 0, 0)

    def following(self, answer: bytes) -> tuple[bytes, int, int]:
        reply = pb.StreamMetricsResponse.FromString(answer).reply
        if reply.rejections or reply.curriculum_error:
            raise RuntimeError(f"rows were not counted: {len(reply.rejections)}, {reply.curriculum_error}")
        batch = pb.MetricsBatch(episodes=self._columns, num_tasks=self._rows)
        batch.episodes.assignment_id.CopyFrom(reply.tasks.assignment_id)
        batch.episodes.task.CopyFrom(reply.tasks.task)
        answered = self._sent.pop(reply.sequence)
        return self._message(batch, self._rows, reply.sequence), self._rows, answered

    def _message(self, batch: pb.MetricsBatch, episodes: int, acknowledged: int) -> bytes:
        self._sequence += 1
        self._sent[self._sequence] = episodes
        message = pb.SessionBatch(sequence=self._sequence, acknowledged_sequence=acknowledged, batch=batch)
        return pb.StreamMetricsRequest(batch=message).SerializeToString()


class EchoExchange:
    """As many bytes up and down as MetricsExchange with that many rows, and nothing in them."""

    method = "/benchmark.Echo/Stream"

    def __init__(self, curriculum: str, session_id: str, rows: int) -> None:
        self._request, self._rows = bytes(request_size(rows)), rows

    def opening(self) -> None:
        return None

    def first(self) -> bytes:
        return self._request

    def following(self, answer: bytes) -> tuple[bytes, int, int]:
        return self._request, self._rows, self._rows


def request_size(rows: int) -> int:
    """Bytes of a batch of MetricsExchange."""
    answer = pb.StreamMetricsResponse(reply=pb.BatchReply(sequence=1, tasks=_tasks(rows)))
    exchange = MetricsExchange("benchmark", "session", rows)
    exchange.first()
    return len(exchange.following(answer.SerializeToString())[0])


def reply_size(rows: int) -> int:
    """Bytes of its answer."""
    reply = pb.BatchReply(sequence=10_000, tasks=_tasks(rows), position=1_000_000)
    return len(pb.StreamMetricsResponse(reply=reply).SerializeToString())


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

    target: str
    curriculum: str
    sessions: int
    """In all processes together."""
    rows: int
    """Episodes of a batch."""
    in_flight: int
    """Batches of a session without an answer."""
    pause: float = 0.0
    """Seconds between an answer and the batch that follows it; then ``in_flight`` is 1."""
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
    """float64 (n, 2): when an answer came (time.monotonic), and seconds since its batch was ready to be sent."""
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

    def start(self) -> float:
        """Open all sessions; returns how many seconds that took, from the first to the last."""
        for child, _ in self._children:
            child.start()
        for _, pipe in self._children:
            pipe.recv()  # it has imported what it needs
        started = time.monotonic()
        for _, pipe in self._children:
            pipe.send("open")
        for _, pipe in self._children:
            if error := pipe.recv():
                raise RuntimeError(f"the load did not start: {error}")
        seconds = time.monotonic() - started
        for _, pipe in self._children:
            pipe.send("go")
        return seconds

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
        self._exchange: Exchange = settings.exchange(
            settings.curriculum, f"{settings.name}-{self.number}", settings.rows
        )
        self._outbox: asyncio.Queue[bytes] = asyncio.Queue()
        self._ready_at: deque[float] = deque()
        self._stopped = asyncio.Event()

    async def open(self) -> None:
        self._channel = grpc.aio.insecure_channel(self.settings.target, options=_OPTIONS)
        await asyncio.wait_for(self._channel.channel_ready(), _OPEN_SECONDS)
        self._call = self._channel.stream_stream(self._exchange.method)()
        if (opening := self._exchange.opening()) is not None:
            await self._call.write(opening)
            await asyncio.wait_for(self._call.read(), _OPEN_SECONDS)

    def stop(self) -> None:
        self._stopped.set()

    async def run(self) -> None:
        """Until all is answered after ``stop``."""
        writing = asyncio.create_task(self._write())
        try:
            await self._pause(self.settings.pause * (self.number % 97) / 97)  # they do not all begin in one moment
            for _ in range(self.settings.in_flight):
                self._put(self._exchange.first(), 0)
            while self._ready_at:
                answer = await self._call.read()
                if answer is grpc.aio.EOF:
                    raise RuntimeError(f"the stream ended: {await self._call.code()} {await self._call.details()}")
                now = time.monotonic()
                self.latencies.append((now, now - self._ready_at.popleft()))
                message, episodes, answered = self._exchange.following(answer)
                self.answered[self.number] += answered
                await self._pause(self.settings.pause)
                if not self._stopped.is_set():
                    self._put(message, episodes)
        finally:
            writing.cancel()

    async def close(self) -> None:
        await self._channel.close()

    def _put(self, message: bytes, episodes: int) -> None:
        self._ready_at.append(time.monotonic())
        self.sent += episodes
        self._outbox.put_nowait(message)

    async def _write(self) -> None:
        """Apart from reading: where flow control stops it, answers are read on."""
        while True:
            await self._call.write(await self._outbox.get())

    async def _pause(self, seconds: float) -> None:
        if seconds > 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopped.wait(), seconds)
