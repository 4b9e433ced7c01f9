"""kill -9 and leases, on a real process: nothing acknowledged is lost, nothing is counted twice."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest

from syllabus_client.task_spaces import DiscreteTaskSpace
from syllabus_client.wire import curriculum_pb2 as pb
from tests.service.serving import TIMEOUT, Stream, column, episodes, num_episodes, spec, status
from tests.service_process import ServiceProcess


def _create(service: ServiceProcess, **options) -> pb.Curriculum:
    with service.stub() as stub:
        request = pb.CreateCurriculumRequest(name="maze", spec=spec(**options))
        return stub.CreateCurriculum(request, timeout=TIMEOUT, wait_for_ready=True).curriculum


def test_requests_resent_to_a_killed_and_restarted_service_get_their_first_answers(service: ServiceProcess) -> None:
    created = _create(service)
    ask = pb.GetTaskRequest(curriculum="maze", session_id="worker", sequence=1, num_tasks=5)
    with service.stub() as stub:
        first = stub.GetTask(ask, timeout=TIMEOUT)
    service.restart()
    with service.stub() as stub:
        assert stub.GetTask(ask, timeout=TIMEOUT) == first
        report = pb.ReportEpisodeRequest(
            curriculum="maze",
            session_id="worker",
            sequence=2,
            episodes=episodes(assignment_ids=column(first.reply.tasks.assignment_id)),
        )
        answered = stub.ReportEpisode(report, timeout=TIMEOUT)
    service.restart()
    with service.stub() as stub:
        assert stub.ReportEpisode(report, timeout=TIMEOUT) == answered
        assert sum(num_episodes(stub).values()) == 5
        found = stub.GetCurriculum(pb.GetCurriculumRequest(curriculum="maze"), timeout=TIMEOUT).curriculum
    assert (found.incarnation, found.position) == (created.incarnation, 2)


def test_draws_after_a_restart_are_those_of_a_service_that_never_stopped(
    start_service: Callable[..., ServiceProcess], tmp_path: Path
) -> None:
    def tasks(stub, sequences: range) -> list[int]:
        drawn = []
        for sequence in sequences:
            request = pb.GetTaskRequest(curriculum="maze", session_id="w", sequence=sequence, num_tasks=7)
            drawn += column(stub.GetTask(request, timeout=TIMEOUT).reply.tasks.task)
        return drawn

    killed = start_service(data_dir=tmp_path / "killed", listen=f"unix:{tmp_path}/a")
    steady = start_service(data_dir=tmp_path / "steady", listen=f"unix:{tmp_path}/b")
    for each in (killed, steady):
        _create(each, task_space=DiscreteTaskSpace(10_000), seed=5)
    with killed.stub() as stub:
        interrupted = tasks(stub, range(1, 10))
    killed.restart()
    with killed.stub() as stub, steady.stub() as steady_stub:
        assert interrupted + tasks(stub, range(10, 20)) == tasks(steady_stub, range(1, 20))


def test_a_client_that_resends_through_many_kills_counts_every_episode_once(service: ServiceProcess) -> None:
    """The client of promise 1: it resends what was not acknowledged, and keeps its own ledger."""
    _create(service)
    rng = random.Random(11)
    ledger: Counter[int] = Counter()
    sequence, batches = 0, {}
    for _ in range(4):
        with service.stub() as stub:
            stream = Stream(stub)
            applied = stream.open(session_id="worker").applied_sequence
            assert sequence <= applied <= sequence + len(batches)
            for number in range(sequence + 1, sequence + 30):
                if number not in batches:
                    batches[number] = [rng.randrange(10) for _ in range(rng.randrange(1, 20))]
                    ledger.update(batches[number])
                stream.send_batch(number, pb.MetricsBatch(episodes=episodes(batches[number])), sequence)
            for _ in range(rng.randrange(25)):
                sequence = stream.receive().reply.sequence
                del batches[sequence]
            service.restart()
            stream.close()
            assert status(stream.error()) in ("UNAVAILABLE", "CANCELLED")
    with service.stub() as stub:
        stream = Stream(stub)
        stream.open(session_id="worker")
        for number, tasks in sorted(batches.items()):
            stream.ask(number, pb.MetricsBatch(episodes=episodes(tasks)), number - 1)
        stream.close()
        assert num_episodes(stub) == dict(ledger)


def test_a_session_that_falls_silent_loses_its_assignments_once_and_is_told_when_it_reports_late(
    service: ServiceProcess,
) -> None:
    _create(service, lease=0.4)
    with service.stub() as stub:
        drawn = stub.GetTask(
            pb.GetTaskRequest(curriculum="maze", session_id="silent", sequence=1, num_tasks=3), timeout=TIMEOUT
        )
        for summary in stub.WatchCurriculum(pb.WatchCurriculumRequest(curriculum="maze"), timeout=TIMEOUT):
            if summary.num_abandoned:
                break
        assert (summary.num_abandoned, summary.num_open_assignments) == (3, 0)
        report = pb.ReportEpisodeRequest(
            curriculum="maze",
            session_id="silent",
            sequence=2,
            episodes=episodes(assignment_ids=column(drawn.reply.tasks.assignment_id)),
        )
        report.episodes.ClearField("task")
        rejections = stub.ReportEpisode(report, timeout=TIMEOUT).reply.rejections
        assert [each.reason for each in rejections] == [pb.REJECTION_REASON_ASSIGNMENT_NOT_OPEN] * 3


def test_heartbeats_keep_a_lease(service: ServiceProcess) -> None:
    _create(service, lease=0.5)
    with service.stub() as stub:
        stub.GetTask(
            pb.GetTaskRequest(curriculum="maze", session_id="silent", sequence=1, num_tasks=1), timeout=TIMEOUT
        )
        stream = Stream(stub)
        stream.open(session_id="beating")
        stream.ask(1, pb.MetricsBatch(num_tasks=1))
        watch = pb.WatchCurriculumRequest(curriculum="maze")
        watch.interval.FromMilliseconds(100)
        for summary in stub.WatchCurriculum(watch, timeout=TIMEOUT):  # until the silent session has lost its lease
            stream.send(pb.StreamMetricsRequest(heartbeat=pb.Heartbeat()))
            stream.receive()
            if summary.num_abandoned:
                break
        stream.close()
        assert (summary.num_abandoned, summary.num_open_assignments) == (1, 1)


def test_a_curriculum_deleted_before_the_kill_is_not_there_after_it(service: ServiceProcess) -> None:
    _create(service)
    with service.stub() as stub:
        stub.DeleteCurriculum(pb.DeleteCurriculumRequest(curriculum="maze"), timeout=TIMEOUT)
    service.restart()
    with service.stub() as stub, pytest.raises(grpc.RpcError) as refused:
        stub.GetCurriculum(pb.GetCurriculumRequest(curriculum="maze"), timeout=TIMEOUT)
    assert status(refused.value) == "NOT_FOUND"


def test_a_session_of_an_earlier_creation_is_told_so(service: ServiceProcess) -> None:
    incarnation = _create(service).incarnation
    with service.stub() as stub:
        stub.DeleteCurriculum(pb.DeleteCurriculumRequest(curriculum="maze"), timeout=TIMEOUT)
        _create(service)
        stream = Stream(stub)
        stream.send(
            pb.StreamMetricsRequest(open=pb.OpenSession(curriculum="maze", session_id="old", incarnation=incarnation))
        )
        assert status(stream.error()) == "FAILED_PRECONDITION"


def test_recovery_of_many_commands_is_a_matter_of_the_last_snapshot(service: ServiceProcess) -> None:
    """A drained service leaves a snapshot, so that the next one replays nothing."""
    _create(service)
    with service.stub() as stub:
        for sequence in range(1, 50):
            request = pb.GetTaskRequest(curriculum="maze", session_id="w", sequence=sequence, num_tasks=1)
            stub.GetTask(request, timeout=TIMEOUT)
    assert service.terminate() == 0
    service.start()
    assert [(event["position"], event["snapshot_position"]) for event in service.events("recovered")] == [(49, 49)]
