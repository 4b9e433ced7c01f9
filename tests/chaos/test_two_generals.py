"""The cases in which one end cannot know what the other has: nothing is lost, nothing is counted twice."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest

from syllabus_client.task_spaces import DiscreteTaskSpace
from syllabus_client.wire import curriculum_pb2 as pb
from syllabus_client.wire import curriculum_pb2_grpc as pb_grpc
from syllabus_service.commands import metrics_command
from syllabus_service.engine import LocalEngine
from syllabus_service.limits import Limits
from tests.chaos.proxy import Direction, Proxy
from tests.service.serving import TIMEOUT, Stream, column, episodes, num_episodes, spec, status
from tests.service_process import ServiceProcess

_LOST_SECONDS = 1.0


@pytest.fixture
def proxy(service: ServiceProcess, tmp_path: Path) -> Iterator[Proxy]:
    with Proxy(lambda: tmp_path / "s") as running:
        yield running


def _create(service: ServiceProcess, lease: float | None = None) -> None:
    with service.stub() as stub:
        request = pb.CreateCurriculumRequest(name="maze", spec=spec(lease=lease))
        stub.CreateCurriculum(request, timeout=TIMEOUT, wait_for_ready=True)


def _draw(stub: pb_grpc.CurriculumServiceStub, count: int, session_id: str = "worker") -> list[int]:
    """Assignments, as the first command of a session."""
    request = pb.GetTaskRequest(curriculum="maze", session_id=session_id, sequence=1, num_tasks=count)
    return column(stub.GetTask(request, timeout=TIMEOUT).reply.tasks.assignment_id)


def _report(assignment_ids: list[int], sequence: int = 2) -> pb.ReportEpisodeRequest:
    return pb.ReportEpisodeRequest(
        curriculum="maze", session_id="worker", sequence=sequence, episodes=episodes(assignment_ids=assignment_ids)
    )


@contextmanager
def _losing(proxy: Proxy) -> Iterator[Callable[..., None]]:
    """A connection that stands, and how to send a request on it whose bytes, or whose reply's, vanish on the way."""
    with grpc.insecure_channel(proxy.target) as channel:
        stub = pb_grpc.CurriculumServiceStub(channel)
        stub.GetCurriculum(pb.GetCurriculumRequest(curriculum="maze"), timeout=TIMEOUT)

        def lose(request: pb.ReportEpisodeRequest, direction: Direction) -> None:
            proxy.swallow(direction)
            with pytest.raises(grpc.RpcError) as lost:
                stub.ReportEpisode(request, timeout=_LOST_SECONDS)
            assert status(lost.value) == "DEADLINE_EXCEEDED"
            proxy.heal()

        yield lose


def _wait_until_applied(stub: pb_grpc.CurriculumServiceStub, count: int) -> None:
    """Until the service has counted so many episodes."""
    for summary in stub.WatchCurriculum(pb.WatchCurriculumRequest(curriculum="maze"), timeout=TIMEOUT):
        if summary.num_episodes >= count:
            return


def _wait_until_abandoned(stub: pb_grpc.CurriculumServiceStub, count: int) -> None:
    for summary in stub.WatchCurriculum(pb.WatchCurriculumRequest(curriculum="maze"), timeout=TIMEOUT):
        if summary.num_abandoned >= count:
            assert summary.num_abandoned == count
            return


def test_reply_lost_and_request_resent(service: ServiceProcess, proxy: Proxy) -> None:
    _create(service)
    with service.stub() as stub, _losing(proxy) as lose:
        request = _report(_draw(stub, 3))
        lose(request, "down")
        _wait_until_applied(stub, 3)
        answer = stub.ReportEpisode(request, timeout=TIMEOUT)
        assert not answer.reply.rejections
        assert answer.reply.position == 2
        assert stub.ReportEpisode(request, timeout=TIMEOUT) == answer
        assert sum(num_episodes(stub).values()) == 3


def test_request_lost_and_resent(service: ServiceProcess, proxy: Proxy) -> None:
    _create(service)
    with service.stub() as stub, _losing(proxy) as lose:
        request = _report(_draw(stub, 3))
        lose(request, "up")
        assert sum(num_episodes(stub).values()) == 0
        assert not stub.ReportEpisode(request, timeout=TIMEOUT).reply.rejections
        assert sum(num_episodes(stub).values()) == 3


def test_reply_lost_and_request_resent_to_a_restarted_service(service: ServiceProcess, proxy: Proxy) -> None:
    _create(service)
    with service.stub() as stub, _losing(proxy) as lose:
        request = _report(_draw(stub, 3))
        lose(request, "down")
        _wait_until_applied(stub, 3)
    service.restart()
    with service.stub() as stub:
        answer = stub.ReportEpisode(request, timeout=TIMEOUT, wait_for_ready=True)
        assert not answer.reply.rejections
        assert answer.reply.position == 2
        assert sum(num_episodes(stub).values()) == 3


def test_reply_lost_and_request_resent_after_the_lease_ran_out(service: ServiceProcess, proxy: Proxy) -> None:
    _create(service, lease=3.0)
    with service.stub() as stub, _losing(proxy) as lose:
        *done, left = _draw(stub, 4)
        request = _report(done)
        lose(request, "down")
        _wait_until_abandoned(stub, 1)  # the one that was not reported
        answer = stub.ReportEpisode(request, timeout=TIMEOUT)
        assert not answer.reply.rejections  # as it was answered then, in time
        assert sum(num_episodes(stub).values()) == 3
        late = stub.ReportEpisode(_report([left], sequence=3), timeout=TIMEOUT).reply
        assert [each.reason for each in late.rejections] == [pb.REJECTION_REASON_ASSIGNMENT_NOT_OPEN]
        assert sum(num_episodes(stub).values()) == 3


def test_request_lost_and_resent_after_the_lease_ran_out(service: ServiceProcess, proxy: Proxy) -> None:
    """What was abandoned is not counted, too: its task may be run by another by now. The sender is told."""
    _create(service, lease=1.5)
    with service.stub() as stub, _losing(proxy) as lose:
        request = _report(_draw(stub, 3))
        lose(request, "up")
        _wait_until_abandoned(stub, 3)
        answer = stub.ReportEpisode(request, timeout=TIMEOUT)
        reasons = [each.reason for each in answer.reply.rejections]
        assert reasons == [pb.REJECTION_REASON_ASSIGNMENT_NOT_OPEN] * 3
        assert stub.ReportEpisode(request, timeout=TIMEOUT) == answer
        assert sum(num_episodes(stub).values()) == 0


def test_two_workers_with_the_same_session_id(service: ServiceProcess) -> None:
    """As of a copied virtual machine: the later stream is served, and what the earlier one sends is not mixed in."""
    _create(service)
    with service.stub() as first_stub, service.stub() as second_stub:
        first, second = Stream(first_stub), Stream(second_stub)
        first.open(session_id="twin")
        first.ask(1, pb.MetricsBatch(episodes=episodes([1])))
        assert second.open(session_id="twin").applied_sequence == 1
        assert status(first.error()) == "ABORTED"
        second.ask(2, pb.MetricsBatch(episodes=episodes([2])), 1)

        third = Stream(first_stub)  # the first one comes back, and believes that it is at its second batch
        assert third.open(session_id="twin").applied_sequence == 2
        assert status(second.error()) == "ABORTED"
        third.send_batch(2, pb.MetricsBatch(episodes=episodes([3])), 1)
        assert status(third.error()) == "FAILED_PRECONDITION"
        assert num_episodes(first_stub) == {1: 1, 2: 1}


def test_two_workers_with_the_same_session_id_that_send_the_same_are_one(service: ServiceProcess) -> None:
    _create(service)
    request = pb.ReportEpisodeRequest(curriculum="maze", session_id="twin", sequence=1, episodes=episodes([1, 2]))
    with service.stub() as first, service.stub() as second:
        answers = [each.future(request, timeout=TIMEOUT) for each in (first.ReportEpisode, second.ReportEpisode) * 4]
        assert len({answer.result().SerializeToString() for answer in answers}) == 1
        assert num_episodes(first) == {1: 1, 2: 1}


def test_a_service_that_was_stopped_for_longer_than_a_lease_takes_what_came_meanwhile(service: ServiceProcess) -> None:
    """Its clock jumps from one instruction to the next: whose report waited in its socket has not been silent."""
    _create(service, lease=2.0)
    with service.stub() as stub:
        request = _report(_draw(stub, 3))
        os.kill(service.pid, signal.SIGSTOP)
        try:
            answer = stub.ReportEpisode.future(request, timeout=TIMEOUT)
            with pytest.raises(grpc.FutureTimeoutError):
                answer.result(timeout=4.0)
        finally:
            os.kill(service.pid, signal.SIGCONT)
        assert not answer.result(timeout=TIMEOUT).reply.rejections
        assert sum(num_episodes(stub).values()) == 3


@pytest.mark.parametrize("jump", [3600.0, -3600.0, 1e9])
def test_a_clock_that_jumps_ends_no_lease_of_a_session_that_speaks(jump: float) -> None:
    space = DiscreteTaskSpace(10)
    now = [1000.0]

    def command(sequence: int, batch: pb.MetricsBatch):
        return metrics_command("worker", sequence, sequence - 1, batch, space, Limits())

    async def live() -> None:
        async with LocalEngine(clock=lambda: now[0]) as engine:
            await engine.create("maze", spec(lease=5.0))
            reply = await engine.submit("maze", command(1, pb.MetricsBatch(num_tasks=3)))
            now[0] += jump
            for sequence in range(2, 12):
                await engine.submit("maze", command(sequence, pb.MetricsBatch(num_tasks=1)))
                now[0] += 0.5
            ids = column(reply.tasks.assignment_id)
            reply = await engine.submit("maze", command(12, pb.MetricsBatch(episodes=episodes(assignment_ids=ids))))
            assert not reply.rejections
            summary = await engine.read("maze", lambda host: host.summary())
            assert (summary.num_episodes, summary.num_abandoned) == (3, 0)

    asyncio.run(live())


def test_leases_run_out_however_the_clock_jumped_before() -> None:
    space = DiscreteTaskSpace(10)
    now = [1000.0]

    async def live() -> int:
        async with LocalEngine(clock=lambda: now[0]) as engine:
            await engine.create("maze", spec(lease=5.0))
            ask = metrics_command("silent", 1, 0, pb.MetricsBatch(num_tasks=3), space, Limits())
            await engine.submit("maze", ask)
            now[0] += 10_000.0
            for _ in range(2000):
                now[0] += 0.1
                summary = await engine.read("maze", lambda host: host.summary())
                if summary.num_abandoned:
                    return int(summary.num_abandoned)
        return 0

    assert asyncio.run(live()) == 3


def test_a_session_resent_by_a_worker_through_a_cut_connection_is_whole(service: ServiceProcess, proxy: Proxy) -> None:
    """Pipelined batches, a cut in the middle, and all of them again on the next connection."""
    _create(service)
    batches = {n: pb.MetricsBatch(episodes=episodes([n % 10])) for n in range(1, 9)}
    with grpc.insecure_channel(proxy.target) as channel:
        stream = Stream(pb_grpc.CurriculumServiceStub(channel))
        stream.open(session_id="worker")
        for number, batch in batches.items():
            stream.send_batch(number, batch)
        stream.receive()
        proxy.cut()
        stream.error()
    with service.stub() as stub:
        stream = Stream(stub)
        applied = stream.open(session_id="worker").applied_sequence
        assert 1 <= applied <= 8
        for number, batch in batches.items():
            assert stream.ask(number, batch).sequence == number
        stream.close()
        assert num_episodes(stub) == dict.fromkeys(range(1, 9), 1)
