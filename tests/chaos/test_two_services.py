"""Two services on one database: the one that was started later serves, the other one is fenced off and says so."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest

from syllabus_client.wire import curriculum_pb2 as pb
from syllabus_service.store.postgresql import PostgresqlStore
from tests.chaos.audit import replay
from tests.postgresql import PostgresServer
from tests.service.serving import TIMEOUT, episodes, num_episodes, spec, status
from tests.service_process import ServiceProcess


@pytest.fixture
def url(database: PostgresServer, request: pytest.FixtureRequest) -> str:
    """A database of the test's own."""
    return database.create_database(request.node.name[:60])


def _report(sequence: int) -> pb.ReportEpisodeRequest:
    return pb.ReportEpisodeRequest(
        curriculum="maze", session_id="worker", sequence=sequence, episodes=episodes([sequence])
    )


def _start_first(start_service: Callable[..., ServiceProcess], url: str, tmp_path: Path) -> ServiceProcess:
    """A service with one curriculum and three episodes."""
    first = start_service("--store", url, data_dir=None, listen=f"unix:{tmp_path}/first")
    with first.stub() as stub:
        stub.CreateCurriculum(pb.CreateCurriculumRequest(name="maze", spec=spec()), timeout=TIMEOUT)
        for sequence in (1, 2, 3):
            stub.ReportEpisode(_report(sequence), timeout=TIMEOUT)
    return first


def test_the_later_service_has_everything_and_the_earlier_one_refuses_for_good(
    start_service: Callable[..., ServiceProcess], url: str, tmp_path: Path
) -> None:
    first = _start_first(start_service, url, tmp_path)
    second = start_service("--store", url, data_dir=None, listen=f"unix:{tmp_path}/second")
    with first.stub() as stub:
        for sequence in (4, 4, 5):
            with pytest.raises(grpc.RpcError) as refused:
                stub.ReportEpisode(_report(sequence), timeout=TIMEOUT)
            assert status(refused.value) == "UNAVAILABLE"  # so that a client looks for the other one
        assert "taken over by another service" in refused.value.details()
    with second.stub() as stub:
        for sequence in (3, 4, 5):
            stub.ReportEpisode(_report(sequence), timeout=TIMEOUT)
        assert num_episodes(stub) == {1: 1, 2: 1, 3: 1, 4: 1, 5: 1}
    second.kill()
    first.kill()
    with PostgresqlStore(url) as store:
        assert replay(store, "maze").host.position == 5


def test_a_service_that_was_paused_while_another_took_over_acknowledges_nothing_when_it_wakes(
    start_service: Callable[..., ServiceProcess], url: str, tmp_path: Path
) -> None:
    first = _start_first(start_service, url, tmp_path)
    with first.stub() as stub:
        os.kill(first.pid, signal.SIGSTOP)
        try:
            asleep = stub.ReportEpisode.future(_report(4), timeout=TIMEOUT)
            second = start_service("--store", url, data_dir=None, listen=f"unix:{tmp_path}/second")
            with second.stub() as second_stub:
                second_stub.ReportEpisode(_report(4), timeout=TIMEOUT)
        finally:
            os.kill(first.pid, signal.SIGCONT)
        assert status(asleep.exception(TIMEOUT)) == "UNAVAILABLE"
    with second.stub() as stub:
        stub.ReportEpisode(_report(5), timeout=TIMEOUT)
        assert num_episodes(stub) == {1: 1, 2: 1, 3: 1, 4: 1, 5: 1}
    second.kill()
    with PostgresqlStore(url) as store:
        assert replay(store, "maze").host.position == 5


def test_what_the_earlier_service_creates_after_the_later_one_has_started_is_served_by_the_later_one(
    start_service: Callable[..., ServiceProcess], url: str, tmp_path: Path
) -> None:
    """A rolling upgrade: clients reach both for a while."""
    first = start_service("--store", url, data_dir=None, listen=f"unix:{tmp_path}/first")
    second = start_service("--store", url, data_dir=None, listen=f"unix:{tmp_path}/second")
    create = pb.CreateCurriculumRequest(name="maze", spec=spec(), allow_existing=True)
    with first.stub() as old, second.stub() as new:
        created = old.CreateCurriculum(create, timeout=TIMEOUT).curriculum
        old.ReportEpisode(_report(1), timeout=TIMEOUT)
        assert new.CreateCurriculum(create, timeout=TIMEOUT).curriculum.incarnation == created.incarnation
        new.ReportEpisode(_report(2), timeout=TIMEOUT)
        for stub in (old, new):
            stub.CreateCurriculum(pb.CreateCurriculumRequest(name=f"by-{stub is new}", spec=spec()), timeout=TIMEOUT)
        ask = pb.GetCurriculumRequest(curriculum="by-False")
        assert new.GetCurriculum(ask, timeout=TIMEOUT).curriculum.name == "by-False"
        for name, sequence in (("maze", 2), ("by-True", 1), ("by-False", 1)):
            request = pb.GetTaskRequest(curriculum=name, session_id="worker", sequence=sequence, num_tasks=1)
            with pytest.raises(grpc.RpcError) as refused:
                old.GetTask(request, timeout=TIMEOUT)
            assert status(refused.value) == "UNAVAILABLE"
        assert num_episodes(new) == {1: 1, 2: 1}
