"""Four curricula on three nodes behind two front doors, while what serves them is lost, part by part."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import psutil
import pytest

from syllabus_client.task_spaces import DiscreteTaskSpace
from syllabus_client.wire import curriculum_pb2 as pb
from syllabus_service.store.postgresql import PostgresqlStore
from tests.chaos.audit import check_counts, check_journal, replay
from tests.chaos.crew import Crew
from tests.chaos.ledger import Ledger
from tests.postgresql import PostgresServer
from tests.ray.doors import FrontDoors
from tests.ray.nodes import RayNodes
from tests.service.serving import spec

_SERVED_SECONDS = 180.0
_CALL_SECONDS = 5.0
_SILENT_SECONDS = 40.0  # an actor that has answered once is ended after fewer
_ALGORITHMS = {
    "progress": "online_learning_progress",
    "random": "domain_randomization",
    "learnable": "learnability",
    "uniform": "domain_randomization",
}
_NAMES = list(_ALGORITHMS)

pytestmark = [pytest.mark.ray, pytest.mark.timeout(1200)]


class Scene:
    """All that runs."""

    def __init__(self, database: PostgresServer, nodes: RayNodes, doors: FrontDoors, crew: Crew) -> None:
        self.database = database
        self.nodes = nodes
        self.doors = doors
        self.crew = crew
        self.rng = random.Random(20261123)

    def positions(self) -> dict[str, int]:
        """How far each curriculum is, by whichever front door answers; -1 where none does."""
        return {name: max(_position(door.target, name) for door in self.doors.doors) for name in _NAMES}

    def wait_until_all_go_on(self, fault: str, since: float, before: dict[str, int]) -> None:
        """Until every curriculum has acknowledged more than before; tells how long that took."""
        while not all(position > before[name] for name, position in self.positions().items()):
            if failures := self.crew.failures():
                pytest.fail("\n".join([f"after: {fault}", *failures, self.nodes.tell()]))
            if time.monotonic() > since + _SERVED_SECONDS:
                said = f"not served again after: {fault}: {before} {self.positions()}"
                pytest.fail(f"{said}\n{self.nodes.tell()}")
            time.sleep(0.1)
        os.write(1, f"\nevery curriculum served again after {time.monotonic() - since:.1f} s: {fault}\n".encode())

    def an_actor(self) -> int:
        """The process of an actor that is on a node that can be lost."""
        return self.rng.choice(sorted(pid for pid, node in self.nodes.actors().items() if node in self.nodes.nodes))


def _position(target: str, name: str) -> int:
    """Read, so that the actor answers; not what a front door remembers."""
    from syllabus_client.wire import curriculum_pb2_grpc as pb_grpc

    with grpc.insecure_channel(target) as channel:
        try:
            question = pb.GetStatisticsRequest(curriculum=name, top_n=1)
            return int(pb_grpc.CurriculumServiceStub(channel).GetStatistics(question, timeout=_CALL_SECONDS).position)
        except grpc.RpcError as error:
            if error.code().name not in ("UNAVAILABLE", "DEADLINE_EXCEEDED"):
                raise
            return -1


@pytest.fixture
def scene(tmp_path: Path, database: PostgresServer, ray_nodes: RayNodes) -> Iterator[Scene]:
    url = database.create_database("loss")
    crew: Crew | None = None
    try:
        with FrontDoors(tmp_path, url, ray_nodes) as doors:
            with doors.stubs() as (stub, _):
                for name, algorithm in _ALGORITHMS.items():
                    made_from = spec(algorithm, DiscreteTaskSpace(40), lease=3600.0)
                    request = pb.CreateCurriculumRequest(name=name, spec=made_from)
                    stub.CreateCurriculum(request, timeout=_SERVED_SECONDS)
            crew = Crew(tmp_path, doors.targets, [name for name in _NAMES for _ in range(2)])
            yield Scene(database, ray_nodes, doors, crew)
    finally:
        if crew is not None:
            crew.close()


def _lose_an_actor(scene: Scene) -> None:
    os.kill(scene.an_actor(), signal.SIGKILL)


def _lose_an_actor_that_only_sleeps(scene: Scene) -> None:
    """Its node is there, so that nobody but a front door can see it."""
    os.kill(scene.an_actor(), signal.SIGSTOP)


def _lose_a_node(scene: Scene) -> None:
    scene.nodes.kill_node(scene.nodes.actors()[scene.an_actor()])


def _lose_a_front_door(scene: Scene) -> None:
    scene.doors.doors[0].kill()


def _lose_the_database(scene: Scene) -> None:
    scene.database.kill()
    time.sleep(1.0)
    scene.database.start()


def _lose_the_head(scene: Scene) -> None:
    port = int(scene.nodes.address.rpartition(":")[2])
    scene.nodes.kill_head()
    assert set(scene.positions().values()) == {-1}
    scene.nodes.start_head(port)
    scene.nodes.add_node()
    scene.nodes.add_node()


def test_every_acknowledged_episode_is_counted_once_whatever_part_of_the_cluster_is_lost(
    scene: Scene, tmp_path: Path
) -> None:
    scene.wait_until_all_go_on("nothing: the start", time.monotonic(), dict.fromkeys(_NAMES, 20))
    for lose, mend in (
        (_lose_an_actor, None),
        (_lose_an_actor_that_only_sleeps, None),
        (_lose_a_node, scene.nodes.add_node),
        (_lose_a_front_door, scene.doors.doors[0].start),
        (_lose_the_database, None),
        (_lose_the_head, None),
    ):
        before, since = scene.positions(), time.monotonic()
        lose(scene)
        scene.wait_until_all_go_on(lose.__name__.strip("_").replace("_", " "), since, before)
        if mend is not None:
            mend()
    _freeze_a_node_until_another_has_taken_over(scene)
    _audit(scene)


def _freeze_a_node_until_another_has_taken_over(scene: Scene) -> None:
    """Split brain: the owner wakes up when it is not the owner any more, with calls in hand; it writes nothing."""
    actors, pid = scene.nodes.actors(), scene.an_actor()
    asleep = [psutil.Process(each) for each, node in actors.items() if node is actors[pid]]
    before, since = scene.positions(), time.monotonic()
    frozen = scene.nodes.freeze(actors[pid])
    try:
        scene.wait_until_all_go_on("lose a node that only sleeps", since, before)
    finally:
        scene.nodes.thaw(frozen)
    deadline = time.monotonic() + _SERVED_SECONDS
    while any(_is_at_work(process) for process in asleep):
        assert time.monotonic() < deadline, "an actor that was taken over goes on"
        scene.nodes.reap(actors[pid])
        time.sleep(0.1)
    before = scene.positions()
    scene.wait_until_all_go_on("the sleeper has awoken", time.monotonic(), before)


def test_an_actor_that_waits_for_a_cpu_is_left_to_wait(tmp_path: Path, database: PostgresServer) -> None:
    made_from = spec(_ALGORITHMS["uniform"], DiscreteTaskSpace(40))
    with RayNodes(0) as nodes, FrontDoors(tmp_path, database.create_database("waiting"), nodes) as doors:
        with doors.stubs() as (stub, _):
            request = pb.CreateCurriculumRequest(name="uniform", spec=made_from)
            creating = stub.CreateCurriculum.future(request, timeout=_SERVED_SECONDS)
            time.sleep(_SILENT_SECONDS)
            assert not creating.done()
            nodes.add_node()
            since = time.monotonic()
            while _position(doors.doors[0].target, "uniform") < 0:
                assert time.monotonic() < since + _SERVED_SECONDS, nodes.tell()
                time.sleep(0.1)
        assert [door.events("actor_does_not_answer") for door in doors.doors] == [[], []]


def _is_at_work(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _audit(scene: Scene) -> None:
    """End the run, and compare ledgers, journals, statistics, and what was served."""
    scene.crew.end()
    served = {}
    with scene.doors.stubs() as (stub, _):
        for name in _NAMES:
            served[name] = (
                stub.GetStatistics(pb.GetStatisticsRequest(curriculum=name), timeout=30.0),
                stub.SaveCheckpoint(pb.SaveCheckpointRequest(curriculum=name), timeout=30.0).checkpoint,
            )
    with PostgresqlStore(scene.database.url("loss")) as store:
        for name in _NAMES:
            evidence, ledger = replay(store, name), Ledger.read(scene.crew.ledgers(name))
            assert evidence.statistics == served[name][0]
            assert evidence.host.snapshot() == served[name][1]
            assert len(ledger.confirmed) > 20
            check_journal(evidence, ledger)
            check_counts(evidence, ledger)
            assert evidence.host._state.counters.num_rejected == 0
