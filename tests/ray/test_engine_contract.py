"""Two front doors on a Ray cluster of three nodes keep the contract of engines."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from syllabus_client.wire import curriculum_pb2 as pb
from tests.postgresql import PostgresServer
from tests.ray.doors import FrontDoors
from tests.ray.nodes import RayNodes
from tests.service.engine_contract import BRITTLE, PICKY, Doors, EngineContract

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def both(
    tmp_path_factory: pytest.TempPathFactory, database: PostgresServer, ray_nodes: RayNodes
) -> Iterator[FrontDoors]:
    """Two front doors."""
    directory: Path = tmp_path_factory.mktemp("doors")
    url = database.create_database("contract")
    allowed = [f"--allow-curriculum={each}" for each in (BRITTLE, PICKY)]
    with FrontDoors(directory, url, ray_nodes, *allowed) as doors:
        yield doors
        with doors.stubs() as (stub, _):
            for each in stub.ListCurricula(pb.ListCurriculaRequest(), timeout=60.0).curricula:
                stub.DeleteCurriculum(pb.DeleteCurriculumRequest(curriculum=each.name), timeout=60.0)


class TestRayEngine(EngineContract):
    """Two processes."""

    @pytest.fixture
    def doors(self, both: FrontDoors) -> Iterator[Doors]:
        with both.stubs() as stubs:
            yield stubs

    @pytest.fixture
    def lose_states(self, ray_nodes: RayNodes) -> Callable[[], None]:
        def lose() -> None:
            for pid in ray_nodes.actors():
                os.kill(pid, signal.SIGKILL)

        return lose
