"""The metrics streams: batches pipelined in order, one stream per session, bounded both ways."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator

import structlog

from syllabus_client.wire import curriculum_pb2 as pb
from syllabus_service.commands import check_session_id, metrics_command
from syllabus_service.engine_interface import ServedCurriculum
from syllabus_service.envelope import Envelope
from syllabus_service.errors import Aborted, FailedPrecondition, InvalidArgument, RequestError, ResourceExhausted
from syllabus_service.limits import Limits
from syllabus_service.metrics.door_tallies import CurriculumDoorTallies
from syllabus_service.rpc import as_refusal
from syllabus_service.sessions import Reply

_log = structlog.get_logger(__name__)

_REPLY = pb.StreamMetricsResponse.REPLY_FIELD_NUMBER
_HEARTBEAT = pb.StreamMetricsResponse(heartbeat=pb.Heartbeat())


class MetricsStream:
    """One stream of one session, after its first message.

    A reading task turns messages into commands and queues them with the runner; ``responses`` yields the answers in
    the order of the messages. At most ``max_unacknowledged_batches`` messages are without an answer: then reading
    stops, and gRPC's flow control slows the client.

    Args:
        runner: the curriculum.
        session_id: the session.
        limits: bounds.
        tallies: of the curriculum.
    """

    def __init__(
        self, runner: ServedCurriculum, session_id: str, limits: Limits, tallies: CurriculumDoorTallies
    ) -> None:
        self.curriculum = runner.name
        self.session_id = session_id
        self._runner = runner
        self._limits = limits
        self.tallies = tallies
        self._answers: deque[asyncio.Future[Reply] | pb.StreamMetricsResponse] = deque()
        self._changed = asyncio.Event()
        self._room = asyncio.Event()
        self._reading: asyncio.Task[None] | None = None
        self._finished = False
        self._error: RequestError | None = None
        self._cut = False

    def start(self, requests: AsyncIterator[pb.StreamMetricsRequest]) -> None:
        """Start reading messages, unless the stream was ended meanwhile."""
        if not self._finished:
            self._reading = asyncio.create_task(self._read(requests))

    def cut(self, error: RequestError) -> None:
        """Stop reading and end at once with ``error``; commands that were queued are applied all the same."""
        self._cut = True
        self.finish(error)
        for answer in self._answers:
            if isinstance(answer, asyncio.Future) and not answer.done():
                answer.set_exception(error)

    def finish(self, error: RequestError | None) -> None:
        """Stop reading, and end, with ``error`` if there is one, after what is queued was answered."""
        if self._reading is not None and self._reading is not asyncio.current_task():
            self._reading.cancel()
        self._finished, self._error = True, error
        self._changed.set()

    def detach(self) -> None:
        """No stream of the session is left."""
        self._runner.detach(self.session_id)

    async def responses(self) -> AsyncIterator[pb.StreamMetricsResponse | Envelope]:
        """The answers. Raises the RequestError that ends the stream."""
        try:
            while True:
                while not self._answers and not self._finished:
                    self._changed.clear()
                    await self._changed.wait()
                if not self._answers or (self._cut and self._error is not None):
                    break
                answer: asyncio.Future[Reply] | pb.StreamMetricsResponse | Envelope = self._answers[0]
                if isinstance(answer, asyncio.Future):
                    answer = Envelope(_REPLY, await answer)
                self._answers.popleft()
                self._room.set()
                yield answer
            if self._error is not None:
                raise self._error
        finally:
            self._close()

    async def _read(self, requests: AsyncIterator[pb.StreamMetricsRequest]) -> None:
        try:
            async for request in requests:
                while len(self._answers) >= self._limits.max_unacknowledged_batches:
                    self._room.clear()
                    await self._room.wait()
                self._answers.append(await self._take(request))
                self._changed.set()
        except Exception as error:  # noqa: BLE001 - every error has a status
            about = {"curriculum": self.curriculum, "session_id": self.session_id}
            self.finish(as_refusal(error, "StreamMetrics", **about))
        else:
            self.finish(None)

    async def _take(self, request: pb.StreamMetricsRequest) -> asyncio.Future[Reply] | pb.StreamMetricsResponse:
        match request.WhichOneof("message"):
            case "batch":
                message = request.batch
                started = time.perf_counter()
                command = metrics_command(
                    self.session_id,
                    message.sequence,
                    message.acknowledged_sequence,
                    message.batch,
                    self._runner.task_space,
                    self._limits,
                    takes_steps=self._runner.requires_step_updates,
                )
                self.tallies.decode_seconds += time.perf_counter() - started
                if message.HasField("client_statistics"):
                    self.tallies.clients.add(message.client_statistics)
                return await self._runner.enqueue(command)
            case "heartbeat":
                if self._runner.refusal is not None:
                    raise self._runner.refusal
                self._runner.touch(self.session_id)
                return _HEARTBEAT
            case "open":
                raise InvalidArgument("open: expected only as the first message of a stream", field="open")
            case _:
                raise InvalidArgument("message: expected a batch or a heartbeat", field="message")

    def _close(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
        for answer in self._answers:
            if isinstance(answer, asyncio.Future) and not answer.cancel() and not answer.cancelled():
                answer.exception()  # nobody else will look at it
        self._answers.clear()


class StreamRegistry:
    """The open streams: one per session, the newest; and a bound on their number."""

    def __init__(self, max_streams: int) -> None:
        self._max_streams = max_streams
        self._streams: dict[tuple[str, str], MetricsStream] = {}
        self._ended: RequestError | None = None

    def __len__(self) -> int:
        return len(self._streams)

    @contextlib.contextmanager
    def registered(self, stream: MetricsStream) -> Iterator[None]:
        """Keep a stream while the block runs; an older one of the same session is cut.

        Raises ResourceExhausted where there are too many, and the error of ``finish_all`` after it.
        """
        key = (stream.curriculum, stream.session_id)
        if self._ended is not None:
            raise self._ended
        older = self._streams.get(key)
        if older is None and len(self._streams) >= self._max_streams:
            raise ResourceExhausted(f"there are {self._max_streams} streams, and no more are allowed")
        if older is not None:
            _log.warning("stream_superseded", curriculum=stream.curriculum, session_id=stream.session_id)
            older.cut(Aborted(f"session {stream.session_id!r} has opened a newer stream"))
        self._streams[key] = stream
        stream.tallies.open_streams += 1
        try:
            yield
        finally:
            stream.tallies.open_streams -= 1
            if self._streams.get(key) is stream:
                del self._streams[key]
                stream.detach()

    def cut_curriculum(self, curriculum: str, error: RequestError) -> None:
        """End all streams of a curriculum at once."""
        for stream in [each for each in self._streams.values() if each.curriculum == curriculum]:
            stream.cut(error)

    def finish_all(self, error: RequestError) -> None:
        """End every stream with ``error`` after what it has queued was answered, and refuse new ones."""
        self._ended = error
        for stream in list(self._streams.values()):
            stream.finish(error)


def check_open(request: pb.StreamMetricsRequest | None) -> pb.OpenSession:
    """The first message of a stream. Raises InvalidArgument unless it is a well-formed ``open``."""
    if request is None or request.WhichOneof("message") != "open":
        raise InvalidArgument("open: expected as the first message of a stream", field="open")
    check_session_id(request.open.session_id, "open.session_id")
    return request.open


def check_incarnation(runner: ServedCurriculum, incarnation: int) -> None:
    """Raise FailedPrecondition unless the session belongs to this creation of the curriculum, or is new."""
    if incarnation not in (0, runner.incarnation):
        raise FailedPrecondition(
            f"open.incarnation: curriculum {runner.name!r} was created anew, or its state was lost: "
            f"expected {runner.incarnation}, got {incarnation}",
            field="open.incarnation",
        )
