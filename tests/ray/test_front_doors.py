"""Front doors of a real Ray cluster: what each tells of curricula, other settings, actors that cannot be placed."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest

from syllabus_client.wire import curriculum_pb2 as pb
from syllabus_client.wire import curriculum_pb2_grpc as pb_grpc
from syllabus_service.limits import Limits
from syllabus_service.ray_engine.frames import Frame, Kind
from syllabus_service.ray_engine.settings import RayCluster, Stored
from tests.metrics.scrape import Scrape, scrape
from tests.postgresql import PostgresServer
from tests.ray.doors import FrontDoors, is_ready
from tests.ray.nodes import RayNodes
from tests.service.serving import Stream, column, episodes, spec

_CALL_SECONDS = 60.0
_PATIENCE_SECONDS = 120.0
_MAZE = {"curriculum": "maze"}

pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]


def _wait_for(address: str, condition: Callable[[Scrape], bool]) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        seen = scrape(address)
        with contextlib.suppress(KeyError):
            if condition(seen):
                return
        assert time.monotonic() < deadline, sorted(name for name in seen.names if name.startswith("syllabus_"))
        time.sleep(0.2)


def _wait_until_refused_for_its_options(older: pb_grpc.CurriculumServiceStub) -> None:
    """Unavailable from the first call on, which may still have been on its way to the actor that was ended."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        with pytest.raises(grpc.RpcError) as refused:
            older.GetStatistics(pb.GetStatisticsRequest(curriculum="maze"), timeout=_CALL_SECONDS)
        assert refused.value.code() == grpc.StatusCode.UNAVAILABLE
        if "same options" in (details := refused.value.details() or ""):
            return
        assert time.monotonic() < deadline, details
        time.sleep(0.1)


def test_every_front_door_tells_a_curriculums_state_and_a_later_one_with_other_options_has_its_actor_made_anew(
    tmp_path: Path, database: PostgresServer, ray_nodes: RayNodes
) -> None:
    url = database.create_database("seen")
    with FrontDoors(tmp_path, url, ray_nodes) as doors, doors.stubs() as (one, two):
        one.CreateCurriculum(pb.CreateCurriculumRequest(name="maze", spec=spec(lease=3600.0)), timeout=_CALL_SECONDS)
        stream = Stream(one, _CALL_SECONDS)
        stream.open("maze", "worker")
        stream.ask(1, pb.MetricsBatch(episodes=episodes([1, 2, 3]), num_tasks=4))
        for address in doors.metrics:
            _wait_for(
                address,
                lambda seen: (
                    seen.value("syllabus_episodes_total", **_MAZE) == 3
                    and seen.value("syllabus_open_assignments", **_MAZE) == 4
                    and seen.value("syllabus_sessions", **_MAZE) == 1
                    and seen.value("syllabus_commands_total", **_MAZE) == 1
                    and seen.value("syllabus_batch_commands_count", **_MAZE) == 1
                    and seen.value("syllabus_batch_stage_seconds_sum", **_MAZE, stage="journal") > 0
                    and seen.value("syllabus_curriculum_available", **_MAZE) == 1
                    and seen.value("syllabus_distribution_effective_tasks", **_MAZE) > 9
                ),
            )
        opened = [scrape(address).value("syllabus_open_streams", **_MAZE) for address in doors.metrics]
        assert opened == [1, 0]  # what a front door itself has, it tells alone
        stream.close()
        actors = set(ray_nodes.actors())
        later = doors.start_another("--durability", "os")
        with later.stub() as stub:
            told = stub.GetStatistics(pb.GetStatisticsRequest(curriculum="maze"), timeout=_CALL_SECONDS)
            assert column(told.tasks.num_episodes) == [1, 1, 1]
            assert not actors & set(ray_nodes.actors())
            assert [event["curriculum"] for event in later.events("actor_made_anew")] == ["maze"]
            for door, older in zip(doors.doors, (one, two), strict=True):
                _wait_until_refused_for_its_options(older)
                assert not is_ready(door)
            assert is_ready(later)
            stub.DeleteCurriculum(pb.DeleteCurriculumRequest(curriculum="maze"), timeout=_CALL_SECONDS)
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while ray_nodes.actors():  # Ray ends them in its own time
            assert time.monotonic() < deadline, "an actor is left of a curriculum that was deleted"
            time.sleep(0.1)


@pytest.mark.usefixtures("ray_cluster")
def test_an_actor_that_ray_cannot_place_is_given_up_in_time_and_ended_where_it_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from syllabus_service.ray_engine import link_process
    from syllabus_service.ray_engine.link_process import Driver

    monkeypatch.setattr(link_process, "CALL_SECONDS", 2.0)
    source = Stored("postgresql://nowhere", "fsync", Limits(), identity="nowhere", cpus=1000.0)

    async def live() -> None:
        ours, theirs = socket.socketpair()
        reader, closing = await asyncio.open_connection(sock=ours)
        kept, writer = await asyncio.open_connection(sock=theirs)
        driver = Driver(RayCluster(), source, writer)
        for number in (1, 2):
            driver.take(Frame(Kind.CALL, number, "stuck", b""))
        answers = [await Frame.read(reader) for _ in range(2)]
        assert [(each.kind, each.number) for each in answers] == [(Kind.LOST, 1), (Kind.LOST, 2)]
        assert all(b"no answer for 2 s" in each.body for each in answers)
        driver._actors.clear()  # as a driver that was started again, which has never heard of it
        driver.take(Frame(Kind.FORGET, 3, "stuck"))
        assert (await Frame.read(reader)).kind is Kind.ANSWER
        driver.take(Frame(Kind.FORGET, 4, "stuck"))  # there is none now
        assert (await Frame.read(reader)).kind is Kind.ANSWER
        for each in (closing, writer):
            each.close()
            await each.wait_closed()
        del kept

    asyncio.run(asyncio.wait_for(live(), _PATIENCE_SECONDS))
