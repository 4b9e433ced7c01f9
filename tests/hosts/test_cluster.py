"""A cluster on hosts of its own: a slow and lossy network, a partition, another address, dead hosts."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from syllabus_client.wire import curriculum_pb2 as pb
from syllabus_service.store.postgresql import PostgresqlStore
from tests.chaos.audit import check_counts, check_journal, replay
from tests.chaos.ledger import Ledger
from tests.hosts.cluster import Cluster, Program

_SEED = 20261123
_TASKS = 40
_LEASE = 8.0
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
_RPC_SECONDS = 30.0
_PATIENCE_SECONDS = 90.0
_CLEAN_SECONDS, _LOSSY_SECONDS, _PARTITION_SECONDS = 5.0, 15.0, 30.0
_NOTICED_SECONDS = 10.0  # within which a session notices that nobody answers: stall_timeout, and what it holds

pytestmark = [pytest.mark.hosts, pytest.mark.timeout(600)]


@pytest.fixture
def cluster(network_directory: Path) -> Iterator[Cluster]:
    cluster = Cluster(network_directory, _CURRICULA, _SEED)
    yield cluster
    cluster.close()


@pytest.fixture
def report(capsys: pytest.CaptureFixture[str]) -> Iterator[dict[str, Any]]:
    """Figures of the run; printed at its end."""
    figures: dict[str, Any] = {}
    yield figures
    with capsys.disabled():
        lines = "".join(f"\n  {name}: {figure}" for name, figure in figures.items())
        os.write(1, f"\nhosts (seed {_SEED}):{lines}\n".encode())


def _confirmed(programs: list[Program]) -> int:
    return len(Ledger.read([each.ledger for each in programs if each.ledger.exists()]).confirmed)


def _until(holds: Callable[[], bool], what: str, cluster: Cluster) -> float:
    """Wait until something holds; how long it took, in seconds."""
    start = time.monotonic()
    while not holds():
        if failures := cluster.failures():
            pytest.fail("\n".join(failures))
        if time.monotonic() > start + _PATIENCE_SECONDS:
            pytest.fail(f"{what}: not within {_PATIENCE_SECONDS:g} s")
        time.sleep(0.1)
    return time.monotonic() - start


def _until_all_work(cluster: Cluster, programs: list[Program]) -> float:
    """Until each of these workers had further episodes acknowledged; how long it took."""
    before = {id(each): _confirmed([each]) for each in programs}
    return _until(lambda: all(_confirmed([each]) > before[id(each)] for each in programs), "workers go on", cluster)


def _resets(program: Program, start: float, end: float) -> list[tuple[float, float, str]]:
    """The resets that began or ended in this time."""
    lines = [line.split() for line in program.diary.read_text().splitlines(keepends=True) if line.endswith("\n")]
    resets = [(float(began), float(ended), what) for began, ended, what in lines]
    return [each for each in resets if each[1] >= start and each[0] <= end]


def test_ledgers_balance_through_a_lossy_network_a_partition_another_address_and_dead_hosts(
    cluster: Cluster, report: dict[str, Any]
) -> None:
    network = cluster.network
    cluster.start_database()
    service = cluster.start_service()
    cluster.start_learner(cluster.add_host("learner"), "manual", _TASKS)
    near, far, others = cluster.add_host("near"), cluster.add_host("far"), cluster.add_host("others")
    listed = [cluster.start_worker(near, "manual") for _ in range(2)]
    workers = [cluster.start_worker(far, "progress") for _ in range(2)]
    workers += [cluster.start_worker(others, "progress")]
    policies = {each: cluster.start_environment(far, "progress", each) for each in ("wait", "raise", "repeat_last")}
    everybody = [*listed, *workers]
    _until_all_work(cluster, everybody)
    before = _confirmed(everybody)
    time.sleep(_CLEAN_SECONDS)
    report["episodes/s of the workers, clean"] = round((_confirmed(everybody) - before) / _CLEAN_SECONDS)

    # 20 ms each way, and 1% of the packets lost each way
    cable = network.hosts[service].cable
    cable.delay, cable.loss = 0.02, 0.01
    before, passed = _confirmed(everybody), cable.passed
    time.sleep(_LOSSY_SECONDS)
    _until_all_work(cluster, everybody)
    report["episodes/s of the workers, 20 ms and 1% loss"] = round((_confirmed(everybody) - before) / _LOSSY_SECONDS)
    report["packets lost, of"] = f"{cable.lost}, {cable.passed - passed}"
    assert cable.lost > 0
    cable.delay = cable.loss = 0.0

    # the far host is cut off; all others go on
    far.cable.unplugged = True
    start = time.monotonic()
    _until_all_work(cluster, [*listed, workers[2]])
    time.sleep(max(0.0, start + _PARTITION_SECONDS - time.monotonic()))
    end = time.monotonic()
    far.cable.unplugged = False
    resets = {policy: _resets(each, start + _NOTICED_SECONDS, end) for policy, each in policies.items()}
    told = {policy: [what for _, _, what in each] for policy, each in resets.items()}
    assert set(told["repeat_last"]) == {"repeated"}
    assert len(told["repeat_last"]) > 50
    assert set(told["raise"]) == {"refused"}
    assert len(told["raise"]) > 20
    assert len(told["wait"]) <= 1  # the one that waits, if its end is written by now
    report["resets of wait, raise, repeat_last in the partition"] = ", ".join(str(len(each)) for each in told.values())
    report["seconds from the partition's end until cut off workers go on"] = round(
        _until_all_work(cluster, workers[:2]), 1
    )
    for policy, each in policies.items():
        _until(lambda each=each: "task" in [what for *_, what in _resets(each, end, end + 1e6)], policy, cluster)

    # the service moves to another address behind its name
    network.power_off(service)
    service = cluster.start_service()
    report["seconds from the service's start elsewhere until all go on"] = round(_until_all_work(cluster, everybody), 1)

    # hosts die: one with workers, and the database's
    network.power_off("near")
    near = cluster.add_host("near again")
    listed = [cluster.start_worker(near, "manual") for _ in range(2)]
    network.power_off("database")
    time.sleep(2.0)
    cluster.start_database()
    everybody = [*listed, *workers]
    report["seconds from the database's start until all go on"] = round(_until_all_work(cluster, everybody), 1)

    _audit(cluster, report)


def _audit(cluster: Cluster, report: dict[str, Any]) -> None:
    """End the run, and compare ledgers, journal, statistics and what was served."""
    asked = cluster.stop_learner()
    call: dict[str, Any] = {"timeout": _RPC_SECONDS, "metadata": cluster.metadata}
    with cluster.stub() as stub:

        def list_is_done() -> bool:
            summary = stub.WatchCurriculum(pb.WatchCurriculumRequest(curriculum="manual"), **call).next()
            return summary.num_episodes >= _TASKS * asked["rounds"] and summary.num_open_assignments == 0

        _until(list_is_done, "the tasks of the list were run", cluster)
        cluster.stop_programs()
        served = {
            name: (
                stub.GetStatistics(pb.GetStatisticsRequest(curriculum=name), **call),
                stub.SaveCheckpoint(pb.SaveCheckpointRequest(curriculum=name), **call).checkpoint,
            )
            for name in ("progress", "manual")
        }
    for name in [each for each in cluster.network.hosts if each.startswith("service")]:
        cluster.network.power_off(name)
    with PostgresqlStore(cluster.store) as store:
        evidence = {name: replay(store, name) for name in served}
    ledgers = {}
    for name, (statistics, checkpoint) in served.items():
        assert evidence[name].statistics == statistics
        assert evidence[name].host.snapshot() == checkpoint
        ledgers[name] = Ledger.read([each.ledger for each in cluster.programs if each.curriculum == name])
        check_journal(evidence[name], ledgers[name])
    progress, manual = evidence["progress"], evidence["manual"]
    check_counts(progress, ledgers["progress"])
    assert progress.host._state.counters.num_rejected == 0
    assert not ledgers["progress"].unconfirmed
    assert manual.counts() == dict.fromkeys(range(_TASKS), asked["rounds"])
    report |= {
        "episodes acknowledged": sum(len(each.confirmed) for each in ledgers.values()),
        "episodes of dead hosts, not acknowledged": len(ledgers["manual"].unconfirmed),
        "of these counted": len(manual.episodes.keys() & ledgers["manual"].unconfirmed.keys()),
        "batches resent": sum(each.batches_resent for each in ledgers.values()),
        "reconnects": sum(each.reconnects for each in ledgers.values()),
        "tasks of the list asked for": _TASKS * asked["rounds"],
        "tasks of the list abandoned and run again": manual.host._state.counters.num_abandoned,
        "leases ended": manual.expirations,
        "commands": progress.host.position + manual.host.position,
    }
