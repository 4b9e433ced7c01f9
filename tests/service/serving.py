"""A server in this process, in a thread with a loop of its own, and clients that speak the bare contract."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

import grpc
import numpy as np

from syllabus_client.task_spaces import DiscreteTaskSpace, TaskSpace
from syllabus_client.wire import codec
from syllabus_client.wire import curriculum_pb2 as pb
from syllabus_client.wire import curriculum_pb2_grpc as pb_grpc
from syllabus_service.engine import LocalEngine
from syllabus_service.limits import Limits
from syllabus_service.runner import RunnerSettings
from syllabus_service.server import Server
from syllabus_service.store import Store

T = TypeVar("T")
TIMEOUT = 20.0


class Serving:
    """A server that runs; methods may be called from the test's thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop, engine: LocalEngine, server: Server) -> None:
        self._loop = loop
        self.engine = engine
        self.server = server
        self.address = server.addresses[0]
        self._channel = grpc.insecure_channel(self.address)
        self.stub = pb_grpc.CurriculumServiceStub(self._channel)

    def run(self, call: Callable[[], Awaitable[T]]) -> T:
        """Await something in the server's loop."""

        async def awaited() -> T:
            return await call()

        return asyncio.run_coroutine_threadsafe(awaited(), self._loop).result(TIMEOUT)

    def call(self, call: Callable[[], object]) -> None:
        """Call something in the server's loop."""

        async def called() -> None:
            call()

        self.run(called)

    def host(self, name: str, curriculum: Any, **options: Any) -> None:
        """Serve a curriculum object."""
        self.call(lambda: self.engine.host(name, curriculum, **options))

    def create(self, name: str = "maze", algorithm: str = "domain_randomization", **options: Any) -> pb.Curriculum:
        """Create a curriculum over the wire."""
        request = pb.CreateCurriculumRequest(name=name, spec=spec(algorithm, **options))
        return self.stub.CreateCurriculum(request, timeout=TIMEOUT).curriculum

    def close(self) -> None:
        """Let go of the client."""
        self._channel.close()


@contextlib.contextmanager
def serving(
    store: Store | None = None,
    *,
    limits: Limits | None = None,
    settings: RunnerSettings | None = None,
    listen: Sequence[str] = ("127.0.0.1:0",),
    allowed_curricula: Sequence[str] = (),
    **server_options: Any,
) -> Iterator[Serving]:
    """Run a server for the length of the block; further options are those of ``Server``."""
    ready: Future[tuple[asyncio.AbstractEventLoop, LocalEngine, Server, asyncio.Event]] = Future()

    async def serve() -> None:
        stop = asyncio.Event()
        engine = LocalEngine(store, limits=limits, settings=settings, allowed_curricula=allowed_curricula)
        async with engine, Server(engine, listen=listen, **server_options) as server:
            ready.set_result((asyncio.get_running_loop(), engine, server, stop))
            await stop.wait()

    def run() -> None:
        try:
            asyncio.run(serve())
        except BaseException as error:
            if ready.done():
                raise
            ready.set_exception(error)

    thread = threading.Thread(target=run, name="serving")
    thread.start()
    try:
        loop, engine, server, stop = ready.result(TIMEOUT)
        running = Serving(loop, engine, server)
        try:
            yield running
        finally:
            running.close()
            loop.call_soon_threadsafe(stop.set)
    finally:
        thread.join()


class Stream:
    """One StreamMetrics call: ``send`` and ``receive`` messages."""

    def __init__(self, stub: pb_grpc.CurriculumServiceStub, timeout: float = TIMEOUT) -> None:
        self._requests: queue.SimpleQueue[pb.StreamMetricsRequest | None] = queue.SimpleQueue()
        self.call = stub.StreamMetrics(iter(self._requests.get, None), timeout=timeout)

    def open(self, curriculum: str = "maze", session_id: str = "session", incarnation: int = 0) -> pb.SessionOpened:
        """Send ``open`` and wait for ``opened``."""
        opening = pb.OpenSession(curriculum=curriculum, session_id=session_id, incarnation=incarnation)
        self.send(pb.StreamMetricsRequest(open=opening))
        return self.receive().opened

    def send(self, request: pb.StreamMetricsRequest) -> None:
        """Send a message."""
        self._requests.put(request)

    def send_batch(self, sequence: int, batch: pb.MetricsBatch | None = None, acknowledged: int = 0) -> None:
        """Send a batch."""
        message = pb.SessionBatch(sequence=sequence, acknowledged_sequence=acknowledged, batch=batch)
        self.send(pb.StreamMetricsRequest(batch=message))

    def receive(self) -> pb.StreamMetricsResponse:
        """The next message; raises grpc.RpcError when the stream has failed, StopIteration when it has ended."""
        return next(self.call)

    def ask(self, sequence: int, batch: pb.MetricsBatch | None = None, acknowledged: int = 0) -> pb.BatchReply:
        """Send a batch and wait for its reply."""
        self.send_batch(sequence, batch, acknowledged)
        return self.receive().reply

    def close(self) -> None:
        """Say that nothing more will be sent."""
        self._requests.put(None)

    def error(self) -> grpc.RpcError:
        """Wait for the end of the stream, which must be an error."""
        try:
            while True:
                self.receive()
        except grpc.RpcError as error:
            self.close()
            return error


def spec(
    algorithm: str = "domain_randomization",
    task_space: TaskSpace | None = None,
    *,
    seed: int = 1,
    lease: float | None = None,
    **params: Any,
) -> pb.CurriculumSpec:
    """A spec."""
    message = pb.CurriculumSpec(
        algorithm=algorithm, task_space=(task_space or DiscreteTaskSpace(10)).to_proto(), seed=seed
    )
    message.params.update(params)
    if lease is not None:
        message.lease.FromNanoseconds(round(lease * 1e9))
    return message


def episodes(
    tasks: Sequence[int] | None = None,
    *,
    assignment_ids: Sequence[int] | np.ndarray | None = None,
    returns: Sequence[float] | None = None,
    progress: Sequence[float] | None = None,
) -> pb.EpisodeBatch:
    """Episodes: of tasks, of assignments, or of both."""
    count = len(tasks) if tasks is not None else len(assignment_ids)  # type: ignore[arg-type]
    ids = np.zeros(count, np.uint64) if assignment_ids is None else np.asarray(assignment_ids, np.uint64)
    return pb.EpisodeBatch(
        assignment_id=codec.to_tensor(ids),
        task=None if tasks is None else codec.to_tensor(np.asarray(tasks, np.int64)),
        episode_return=codec.to_tensor(np.asarray(returns if returns is not None else np.ones(count), np.float64)),
        length=codec.to_tensor(np.full(count, 5, np.int64)),
        progress=codec.to_tensor(np.asarray(progress if progress is not None else np.ones(count), np.float64)),
        env_id=codec.to_tensor(np.arange(count, dtype=np.int64)),
    )


def column(tensor: pb.Tensor) -> list:
    """A tensor as a list."""
    return codec.from_tensor(tensor, "column").tolist()


def num_episodes(stub: pb_grpc.CurriculumServiceStub, curriculum: str = "maze") -> dict[int, int]:
    """How many episodes the service has counted, by task."""
    found = stub.GetStatistics(pb.GetStatisticsRequest(curriculum=curriculum), timeout=TIMEOUT)
    return dict(zip(column(found.tasks.task), column(found.tasks.num_episodes), strict=True))


def status(error: grpc.RpcError) -> str:
    """Name of an error's status."""
    return error.code().name


def bad_field(error: grpc.RpcError) -> str:
    """The field that an error's google.rpc.BadRequest names, or empty."""
    from google.rpc.error_details_pb2 import BadRequest
    from grpc_status import rpc_status

    rich = rpc_status.from_call(error)
    for detail in rich.details if rich is not None else ():
        violations = BadRequest()
        if detail.Unpack(violations):
            return violations.field_violations[0].field
    return ""
