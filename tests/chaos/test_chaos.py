"""Chaos: workers report while services, connections, workers and the database are killed; then the ledgers balance.

The short form, two minutes, runs with the other tests. ``SYLLABUS_CHAOS_SECONDS`` and ``SYLLABUS_CHAOS_SEED`` make it
another one; see ``tests/soak.py``.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.message import Message

from syllabus_client.wire import curriculum_pb2 as pb
from syllabus_service.store import SqliteStore, Store
from syllabus_service.store.postgresql import PostgresqlStore
from tests.chaos.audit import check_counts, check_journal, replay
from tests.chaos.crew import Crew
from tests.chaos.learner import Learner
from tests.chaos.ledger import Ledger
from tests.chaos.proxy import Proxy
from tests.postgresql import PostgresServer
from tests.service_process import ServiceProcess

_SECONDS = float(os.environ.get("SYLLABUS_CHAOS_SECONDS", "120"))
_SEED = int(os.environ.get("SYLLABUS_CHAOS_SEED", "20261122"))
_KILLS = max(6, round(_SECONDS / 6))
_RPC_SECONDS = 30.0
_END_SECONDS = 120.0
_TASKS = 40
_LEASE = 4.0
_CURRICULA = f"""
curricula:
  progress:
    algorithm: online_learning_progress
    task_space: {_TASKS}
    seed: 3
    lease_seconds: 3600
  manual:
    algorithm: manual
    task_space: {_TASKS}
    lease_seconds: {_LEASE}
"""
_CREW = ["progress"] * 5 + ["manual"] * 3

pytestmark = pytest.mark.timeout(_SECONDS * 4 + 400)


class Faults:
    """What goes wrong, in an order that a seed decides."""

    def __init__(self, service: ServiceProcess, proxy: Proxy, crew: Crew, learner: Learner, rng: random.Random) -> None:
        self.service = service
        self.proxy = proxy
        self.crew = crew
        self.learner = learner
        self.rng = rng
        self.service_kills = 0
        self.half_open = 0
        self._kinds: list[tuple[Callable[[], None], int]] = [
            (self.kill_service, 4),
            (self.cut, 4),
            (self.kill_worker, 4),
            (self.half_open_for_a_while, 1),
            (self.refuse_for_a_while, 1),
            (self.delay_for_a_while, 1),
        ]

    def happen(self) -> None:
        """One fault, after a while."""
        self.wait(1.2)
        kinds, weights = zip(*self._kinds, strict=True)
        self.rng.choices(kinds, weights)[0]()

    def add(self, kind: Callable[[], None], weight: int) -> None:
        """Another kind of fault."""
        self._kinds.append((kind, weight))

    def wait(self, most: float) -> None:
        time.sleep(self.rng.uniform(0.0, most))

    def kill_service(self) -> None:
        self.service.kill()
        self.service_kills += 1
        self.wait(0.3)
        self.service.start()

    def cut(self) -> None:
        self.proxy.cut()

    def kill_worker(self) -> None:
        self.crew.kill_one(self.rng)

    def half_open_for_a_while(self) -> None:
        self.proxy.swallow(*self.rng.choice([("up",), ("down",), ()]))
        self.half_open += 1
        self.wait(2.0)
        self.proxy.heal()

    def refuse_for_a_while(self) -> None:
        self.proxy.refuse()
        self.proxy.cut()
        self.wait(1.0)
        self.proxy.heal()

    def delay_for_a_while(self) -> None:
        self.proxy.delay(self.rng.uniform(0.0, 0.05))
        self.wait(1.0)
        self.proxy.delay(0.0)


@pytest.fixture
def curricula_file(tmp_path: Path) -> Path:
    path = tmp_path / "curricula.yaml"
    path.write_text(_CURRICULA)
    return path


@pytest.fixture
def start_crew(tmp_path: Path) -> Iterator[Callable[[str], Crew]]:
    crews: list[Crew] = []

    def start(target: str) -> Crew:
        crews.append(Crew(tmp_path, target, _CREW))
        return crews[-1]

    yield start
    for crew in crews:
        crew.close()


@pytest.fixture
def start_learner() -> Iterator[Callable[[str], Learner]]:
    learners: list[Learner] = []

    def start(target: str) -> Learner:
        learners.append(Learner(target, "manual", _TASKS))
        learners[-1].start()
        return learners[-1]

    yield start
    for learner in learners:
        learner.stop()


def _run(faults: Faults, seconds: float, kills: int) -> None:
    """Let things go wrong for so long, and until the service was killed so often."""
    end = time.monotonic() + seconds
    while time.monotonic() < end or faults.service_kills < kills:
        faults.happen()
        if failures := faults.crew.failures():
            pytest.fail("\n".join(failures))
    faults.proxy.heal()
    faults.learner.stop()


def _readings(service: ServiceProcess, name: str) -> tuple[Message, Message]:
    with service.stub() as stub:
        return (
            stub.GetStatistics(pb.GetStatisticsRequest(curriculum=name), timeout=_RPC_SECONDS, wait_for_ready=True),
            stub.WatchCurriculum(pb.WatchCurriculumRequest(curriculum=name), timeout=_RPC_SECONDS).next(),
        )


def _wait_for_the_list(service: ServiceProcess, rounds: int) -> None:
    """Until every task of the list was run as often as the learner asked, and none is out."""
    deadline = time.monotonic() + _END_SECONDS
    while time.monotonic() < deadline:
        _, summary = _readings(service, "manual")
        if summary.num_episodes >= _TASKS * rounds and summary.num_open_assignments == 0:
            return
        time.sleep(0.2)
    pytest.fail(f"tasks of the list are missing: {summary}")


def _audit(service: ServiceProcess, faults: Faults, open_store: Callable[[], Store], report: dict[str, Any]) -> None:
    """End the run, and compare ledgers, journal, statistics and what was served."""
    crew = faults.crew
    _wait_for_the_list(service, faults.learner.rounds)
    crew.end()
    served = {}
    with service.stub() as stub:
        for name in ("progress", "manual"):
            served[name] = (
                stub.GetStatistics(pb.GetStatisticsRequest(curriculum=name), timeout=_RPC_SECONDS),
                stub.SaveCheckpoint(pb.SaveCheckpointRequest(curriculum=name), timeout=_RPC_SECONDS).checkpoint,
            )
        distribution = stub.GetDistribution(pb.GetDistributionRequest(curriculum="progress"), timeout=_RPC_SECONDS)
    service.kill()
    with open_store() as store:
        progress, manual = replay(store, "progress"), replay(store, "manual")
    for evidence, (statistics, checkpoint) in ((progress, served["progress"]), (manual, served["manual"])):
        assert evidence.statistics == statistics
        assert evidence.host.snapshot() == checkpoint  # generator, sessions, assignments and all, bit for bit
    assert progress.host.distribution() == distribution

    ledger = Ledger.read(crew.ledgers("progress"))
    check_journal(progress, ledger)
    check_counts(progress, ledger)
    assert progress.host._state.counters.num_rejected == 0
    assert manual.counts() == dict.fromkeys(range(_TASKS), faults.learner.rounds)
    manual_ledger = Ledger.read(crew.ledgers("manual"))
    check_journal(manual, manual_ledger)
    report |= {
        "kills of the service": faults.service_kills,
        "kills of workers": crew.kills,
        "connections cut": faults.proxy.cuts,
        "half-open": faults.half_open,
        "bytes swallowed": faults.proxy.swallowed,
        "episodes acknowledged": len(ledger.confirmed) + len(manual_ledger.confirmed),
        "episodes of killed workers, not acknowledged": len(ledger.unconfirmed) + len(manual_ledger.unconfirmed),
        "of these counted": len(progress.episodes.keys() & ledger.unconfirmed.keys()),
        "batches resent": ledger.batches_resent + manual_ledger.batches_resent,
        "reconnects": ledger.reconnects + manual_ledger.reconnects,
        "tasks of the list asked for": _TASKS * faults.learner.rounds,
        "tasks of the list abandoned and run again": manual.host._state.counters.num_abandoned,
        "leases ended": manual.expirations,
        "records trimmed": progress.trimmed + manual.trimmed,
        "commands": progress.host.position + manual.host.position,
    }


@pytest.fixture
def report(request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]) -> Iterator[dict[str, Any]]:
    """Figures of a run; printed at its end."""
    figures: dict[str, Any] = {}
    yield figures
    with capsys.disabled():
        lines = "".join(f"\n  {name}: {figure}" for name, figure in figures.items())
        os.write(1, f"\n{request.node.name} (seed {_SEED}):{lines}\n".encode())


def test_every_acknowledged_episode_is_counted_once_through_kills_cuts_and_replaced_workers(
    start_service: Callable[..., ServiceProcess],
    start_crew: Callable[[str], Crew],
    start_learner: Callable[[str], Learner],
    curricula_file: Path,
    tmp_path: Path,
    report: dict[str, Any],
) -> None:
    service = start_service("--config", str(curricula_file))
    with Proxy(lambda: tmp_path / "s") as proxy:
        crew, learner = start_crew(proxy.target), start_learner(proxy.target)
        faults = Faults(service, proxy, crew, learner, random.Random(_SEED))
        _run(faults, _SECONDS, _KILLS)
        _audit(service, faults, lambda: SqliteStore(tmp_path / "data"), report)


def test_every_acknowledged_episode_is_counted_once_while_postgresql_is_stopped_and_killed(
    database: PostgresServer,
    start_service: Callable[..., ServiceProcess],
    start_crew: Callable[[str], Crew],
    start_learner: Callable[[str], Learner],
    curricula_file: Path,
    tmp_path: Path,
    report: dict[str, Any],
) -> None:
    url = database.create_database("chaos")
    service = start_service("--config", str(curricula_file), "--store", url, data_dir=None)
    stops = {"stop": 0, "kill": 0}

    def lose_the_database() -> None:
        how = "stop" if stops["stop"] <= stops["kill"] else "kill"
        stops[how] += 1
        getattr(database, how)()
        faults.wait(1.5)
        database.start()

    with Proxy(lambda: tmp_path / "s") as proxy:
        crew, learner = start_crew(proxy.target), start_learner(proxy.target)
        faults = Faults(service, proxy, crew, learner, random.Random(_SEED + 1))
        lose_the_database()
        lose_the_database()
        faults.add(lose_the_database, 4)
        _run(faults, _SECONDS / 10, _KILLS // 6)
        _audit(service, faults, lambda: PostgresqlStore(url), report)
    report |= {"database stopped": stops["stop"], "database killed": stops["kill"]}
