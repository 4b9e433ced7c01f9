"""Thousands of fault schedules: nothing acknowledged is lost, nothing is counted twice, nobody is stuck.

A failing schedule is replayed by its seed: ``SIMULATION_SEED=SEED pytest tests/simulation -k every``.
SIMULATION_SCHEDULES says how many are tried.
"""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest

from syllabus_client.wire import curriculum_pb2 as pb
from tests.simulation.world import World


def schedule(seed: int, *, sync: bool = True) -> World:
    """Run one schedule to its end."""
    world = World(seed)
    world.service.sync = sync
    world.run_with_faults(seconds=3.0, faults=world.rng.randint(1, 6))
    world.settle()
    return world


def check(world: World) -> None:
    """What must hold when faults are over."""
    service = world.service
    calls = service.host.curriculum.calls
    counted = Counter(int(call[2]) for call in calls if call[0] == "episode")
    assert not [episode for episode, times in counted.items() if times > 1], "an episode was counted twice"

    for worker in world.live:
        machine = worker.machine
        assert machine.closed, f"session {worker.name} is stuck"
        assert machine.num_undelivered == 0
        statistics = machine.statistics()
        mine = sum(counted[episode] for episode in worker.reported)
        assert statistics.rows_undelivered == 0, "a session was lost"
        told = len(worker.reported) - sum(worker.rejected.values())
        assert mine == told, "what a worker was told is not what was counted"

    summary = service.host.summary()
    drawn = sum(len(call[1]) for call in calls if call[0] == "sampled")
    abandoned = sum(len(call[1]) for call in calls if call[0] == "abandoned")
    assert drawn == summary.num_assignments
    assert drawn == len(counted) + abandoned + summary.num_open_assignments, "an assignment did not end exactly once"
    assert service.host.statistics(pb.GetStatisticsRequest()).total.num_episodes.data == len(counted).to_bytes(
        8, "little"
    )

    replayed = service.make_host()
    for record in service.journal.records:
        before = len(replayed.curriculum.calls)
        replayed.replay(record)
        kinds = [call[0] for call in replayed.curriculum.calls[before:]]
        assert "sampled" not in kinds[:-1], "tasks were drawn before the results that came with the request"
    assert replayed.snapshot() == service.host.snapshot(), "a replay of the journal gives another state"


def run_checked(seed: int, **options: bool) -> None:
    """Run and check one schedule; name its seed when it fails."""
    try:
        check(schedule(seed, **options))
    except Exception as error:
        raise AssertionError(f"schedule {seed}: {error}; replay it with SIMULATION_SEED={seed}") from error


def seeds_to_try() -> range:
    """All seeds, or the one asked for."""
    if (one := os.environ.get("SIMULATION_SEED")) is not None:
        return range(int(one), int(one) + 1)
    return range(int(os.environ.get("SIMULATION_SCHEDULES", "10000")))


@pytest.mark.timeout(3600)
def test_every_schedule_of_faults_keeps_the_ledger():
    seeds = seeds_to_try()
    with ProcessPoolExecutor(min(os.cpu_count() or 1, len(seeds)), get_context("spawn")) as workers:
        for _ in workers.map(run_checked, seeds, chunksize=50):
            pass


def test_the_schedules_do_meet_faults():
    worlds = [schedule(seed) for seed in range(40)]
    assert sum(world.service.life for world in worlds) > 10
    assert sum(len(world.workers) - len(world.live) for world in worlds) > 10
    assert sum(world.service.host.summary().num_episodes for world in worlds) > 500
    machines = [worker.machine for world in worlds for worker in world.workers]
    assert sum(machine.statistics().batches_resent for machine in machines) > 10


# The simulation finds what it is there to find: each of these breaks one thing.


def fails_somewhere(seeds: range = range(200), **options: bool) -> bool:
    """Whether some schedule fails."""
    for seed in seeds:
        try:
            check(schedule(seed, **options))
        except AssertionError:
            return True
    return False


def test_a_service_that_answers_before_its_journal_is_synced_is_found():
    assert fails_somewhere(sync=False)


def test_a_service_that_does_not_recognise_resent_batches_is_found(monkeypatch):
    from syllabus_service.sessions import SessionTable

    monkeypatch.setattr(SessionTable, "admit", lambda *args: None)
    assert fails_somewhere()


def test_a_service_that_draws_before_it_applies_results_is_found(monkeypatch):
    from syllabus_service.transitions import Transitions

    apply = Transitions._apply_metrics

    def hasty(self, command, metrics, session):
        early = pb.BatchReply()
        if metrics.num_tasks:
            self._draw(command, metrics.num_tasks, session, early)
        reply = apply(self, command, dataclasses.replace(metrics, num_tasks=0), session)
        if early.HasField("tasks"):
            reply.tasks.CopyFrom(early.tasks)
        return reply

    monkeypatch.setattr(Transitions, "_apply_metrics", hasty)
    assert fails_somewhere()


def test_a_session_that_forgets_unanswered_batches_is_found(monkeypatch):
    from syllabus_client.session import SessionMachine

    opened = SessionMachine._opened

    def forgetful(self, message, now):
        self._sent.clear()
        opened(self, message, now)

    monkeypatch.setattr(SessionMachine, "_opened", forgetful)
    assert fails_somewhere()


def test_a_late_report_that_counts_though_its_lease_ran_out_is_found(monkeypatch):
    from syllabus_service.assignments import AssignmentTable

    monkeypatch.setattr(AssignmentTable, "close", lambda self, slots: None)
    assert fails_somewhere()
