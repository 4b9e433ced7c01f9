"""CurriculumServicer: the RPCs of the contract; messages to commands, and answers to messages."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import structlog
from google.protobuf.message import Message

from syllabus_client.wire import curriculum_pb2 as pb
from syllabus_client.wire import curriculum_pb2_grpc as pb_grpc
from syllabus_service.authorization import Caller
from syllabus_service.commands import (
    Command,
    add_agent_command,
    check_name,
    check_session_id,
    custom_update_command,
    draw_command,
    metrics_command,
    restore_command,
)
from syllabus_service.engine_interface import Engine, ServedCurriculum
from syllabus_service.envelope import Envelope
from syllabus_service.errors import InvalidArgument, NotFound, RequestError, ResourceExhausted
from syllabus_service.metrics.door_tallies import DoorTallies
from syllabus_service.streams import MetricsStream, StreamRegistry, check_incarnation, check_open

_log = structlog.get_logger(__name__)

_MAX_PAGE = 1000
_MAX_WATCHED_TASKS = 1000
_MIN_INTERVAL_SECONDS, _MAX_INTERVAL_SECONDS = 0.1, 3600.0


class CurriculumServicer(pb_grpc.CurriculumServiceServicer):
    """Answers every RPC of CurriculumService from an engine. Refuses by raising RequestError; see ``rpc``.

    Args:
        engine: the curricula.
        tallies: what it counts.
    """

    def __init__(self, engine: Engine, tallies: DoorTallies) -> None:
        self._engine = engine
        self._tallies = tallies
        self._limits = engine.limits
        self._streams = StreamRegistry(engine.limits.max_sessions)
        self._drained = asyncio.Event()
        self._drain_error: RequestError | None = None

    def drain(self, error: RequestError) -> None:
        """End every stream with ``error`` after what it has queued was answered, and refuse new ones."""
        self._drain_error = error
        self._drained.set()
        self._streams.finish_all(error)

    # Curricula

    async def CreateCurriculum(
        self, request: pb.CreateCurriculumRequest, caller: Caller
    ) -> pb.CreateCurriculumResponse:
        runner = await self._engine.create(request.name, request.spec, allow_existing=request.allow_existing)
        return pb.CreateCurriculumResponse(curriculum=await runner.describe())

    async def GetCurriculum(self, request: pb.GetCurriculumRequest, caller: Caller) -> pb.GetCurriculumResponse:
        runner = await self._engine.get(request.curriculum)
        return pb.GetCurriculumResponse(curriculum=await runner.describe())

    async def ListCurricula(self, request: pb.ListCurriculaRequest, caller: Caller) -> pb.ListCurriculaResponse:
        if request.page_token:
            check_name(request.page_token, "page_token")
        size = min(request.page_size or _MAX_PAGE, _MAX_PAGE)
        rest = [
            runner
            for runner in await self._engine.list()
            if runner.name > request.page_token and caller.covers(runner.name)
        ]
        page = rest[:size]
        return pb.ListCurriculaResponse(
            curricula=await asyncio.gather(*(runner.describe(with_task_space=False) for runner in page)),
            next_page_token=page[-1].name if len(rest) > size else "",
        )

    async def DeleteCurriculum(
        self, request: pb.DeleteCurriculumRequest, caller: Caller
    ) -> pb.DeleteCurriculumResponse:
        await self._engine.delete(request.curriculum)
        gone = NotFound(f"curriculum: {request.curriculum!r} was deleted", field="curriculum")
        self._streams.cut_curriculum(request.curriculum, gone)
        _log.info("curriculum_deleted", curriculum=request.curriculum)
        return pb.DeleteCurriculumResponse()

    # Environments

    async def GetTask(self, request: pb.GetTaskRequest, caller: Caller) -> Envelope:
        runner = await self._engine.get(request.curriculum)
        command = draw_command(request.session_id, request.sequence, request.num_tasks, self._limits)
        reply = await runner.submit(command)
        rest = pb.GetTaskResponse(incarnation=runner.incarnation).SerializeToString()
        return Envelope(pb.GetTaskResponse.REPLY_FIELD_NUMBER, reply, rest)

    async def ReportEpisode(self, request: pb.ReportEpisodeRequest, caller: Caller) -> pb.ReportEpisodeResponse:
        runner = await self._engine.get(request.curriculum)
        message = pb.MetricsBatch(
            episodes=request.episodes if request.HasField("episodes") else None,
            released=request.released if request.HasField("released") else None,
        )
        reply = await runner.submit(self._unary_metrics(runner, request.session_id, request.sequence, message))
        return pb.ReportEpisodeResponse(reply=reply)  # type: ignore[arg-type]

    async def StreamMetrics(
        self, requests: AsyncIterator[pb.StreamMetricsRequest], caller: Caller
    ) -> AsyncIterator[pb.StreamMetricsResponse | Envelope]:
        opening = check_open(await anext(requests, None))
        runner = await self._engine.get(opening.curriculum)
        check_incarnation(runner, opening.incarnation)
        session_id = opening.session_id
        stream = MetricsStream(runner, session_id, self._limits, self._tallies.of(runner.name))
        with self._streams.registered(stream):
            applied = await runner.attach(session_id)
            opened = pb.SessionOpened(
                curriculum=await runner.describe(), applied_sequence=applied, limits=self._limits.to_proto()
            )
            opened.lease.FromNanoseconds(round(runner.lease_seconds * 1e9))
            _log.info("session_opened", curriculum=runner.name, session_id=session_id, applied_sequence=applied)
            yield pb.StreamMetricsResponse(opened=opened)
            stream.start(requests)
            async for response in stream.responses():
                yield response
            _log.info("stream_ended", curriculum=runner.name, session_id=session_id)

    # The learner

    async def CustomUpdate(self, request: pb.CustomUpdateRequest, caller: Caller) -> pb.CustomUpdateResponse:
        runner = await self._engine.get(request.curriculum)
        return await runner.submit(custom_update_command(request, self._limits))  # type: ignore[return-value]

    async def GetDistribution(self, request: pb.GetDistributionRequest, caller: Caller) -> pb.GetDistributionResponse:
        runner = await self._engine.get(request.curriculum)
        return await self._ask(runner, request)

    async def GetStatistics(self, request: pb.GetStatisticsRequest, caller: Caller) -> pb.GetStatisticsResponse:
        runner = await self._engine.get(request.curriculum)
        return await self._ask(runner, request)

    async def WatchCurriculum(
        self, request: pb.WatchCurriculumRequest, caller: Caller
    ) -> AsyncIterator[pb.WatchCurriculumResponse]:
        runner = await self._engine.get(request.curriculum)
        interval = _interval_seconds(request)
        if request.top_n > _MAX_WATCHED_TASKS:
            raise InvalidArgument(f"top_n: expected at most {_MAX_WATCHED_TASKS}, got {request.top_n}", field="top_n")
        while self._drain_error is None:
            response: Any = await runner.ask(request)
            response.clients.CopyFrom(self._tallies.of(runner.name).clients.to_message())
            yield response
            try:
                await asyncio.wait_for(self._drained.wait(), interval)
            except TimeoutError:
                continue
        raise self._drain_error

    async def SaveCheckpoint(self, request: pb.SaveCheckpointRequest, caller: Caller) -> pb.SaveCheckpointResponse:
        runner = await self._engine.get(request.curriculum)
        return await self._ask(runner, request)

    async def RestoreCheckpoint(
        self, request: pb.RestoreCheckpointRequest, caller: Caller
    ) -> pb.RestoreCheckpointResponse:
        runner = await self._engine.get(request.curriculum)
        return await runner.submit(restore_command(request))  # type: ignore[return-value]

    async def AddAgent(self, request: pb.AddAgentRequest, caller: Caller) -> pb.AddAgentResponse:
        runner = await self._engine.get(request.curriculum)
        return await runner.submit(add_agent_command(request, self._limits))  # type: ignore[return-value]

    async def GetAgent(self, request: pb.GetAgentRequest, caller: Caller) -> pb.GetAgentResponse:
        runner = await self._engine.get(request.curriculum)
        return await self._ask(runner, request)

    # What they share

    def _unary_metrics(
        self, runner: ServedCurriculum, session_id: str, sequence: int, message: pb.MetricsBatch
    ) -> Command:
        """A metrics batch of a unary request: its sender waits for each answer, so it has all before this one."""
        check_session_id(session_id)
        if sequence < 1:
            raise InvalidArgument("sequence: expected at least 1, got 0", field="sequence")
        try:
            started = time.perf_counter()
            command = metrics_command(session_id, sequence, sequence - 1, message, runner.task_space, self._limits)
            self._tallies.of(runner.name).decode_seconds += time.perf_counter() - started
            return command
        except InvalidArgument as error:
            path = (error.field or "").removeprefix("batch.")
            raise InvalidArgument(str(error).removeprefix("batch."), field=path or None) from error

    async def _ask(self, runner: ServedCurriculum, question: Message) -> Any:
        response = await runner.ask(question)
        bound = self._limits.max_message_bytes
        if (size := response.ByteSize()) > bound:
            raise ResourceExhausted(f"the answer has {size} bytes, and at most {bound} are sent: ask for less")
        return response


def _interval_seconds(request: pb.WatchCurriculumRequest) -> float:
    if not request.HasField("interval"):
        return 1.0
    seconds = request.interval.seconds + request.interval.nanos * 1e-9
    if not _MIN_INTERVAL_SECONDS <= seconds <= _MAX_INTERVAL_SECONDS:
        raise InvalidArgument(
            f"interval: expected {_MIN_INTERVAL_SECONDS} s to {_MAX_INTERVAL_SECONDS:.0f} s, got {seconds} s",
            field="interval",
        )
    return seconds
