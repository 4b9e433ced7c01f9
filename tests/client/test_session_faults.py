"""SessionMachine under a network that fails: every row that was reported is delivered once, or said to be lost."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from syllabus_client.session import Connection, SessionMachine
from syllabus_client.settings import SessionSettings
from tests.client.model_service import ModelService, Simulation

SECONDS = 2.0


class World:
    """Environments that run tasks and report them, on a network that is cut, stalls and repeats replies."""

    def __init__(self, seed: int, *, supply: int | None = None) -> None:
        rng = random.Random(seed)
        self.rng = rng
        self.service = ModelService()
        self.service.supply = supply
        self.service.limits.max_unacknowledged_batches = rng.randint(1, 8)
        self.service.limits.max_rows_per_batch = rng.randint(1, 64)
        self.machine = SessionMachine(
            "maze",
            SessionSettings(
                max_latency=rng.choice([0.0, 0.001, 0.01]),
                max_rows=rng.randint(1, 100),
                prefetch=rng.choice(["adaptive", 0, 1, 3]),
                backoff_initial=0.01,
                backoff_max=0.2,
                stall_timeout=0.3,
            ),
            rng=rng,
        )
        slow = rng.choice([0.0001, 0.002, 0.02])
        self.simulation = Simulation(
            self.machine,
            self.service,
            rng=rng,
            delay=lambda: rng.expovariate(1.0 / slow),
            duplicate=0.2,
        )
        self.reported: list[int] = []
        self.released = 0
        self.faults_until = SECONDS
        self.resets_until = SECONDS
        self.taken: list[int] = []
        self.machine.environments = rng.randint(1, 6)
        for _ in range(self.machine.environments):
            self.simulation.at(rng.random() * 0.1, self.reset)
        self.simulation.at(rng.random(), self.fault)

    def reset(self) -> None:
        if self.simulation.now >= self.resets_until:
            return
        task = self.machine.take_one(self.simulation.now)
        if task is None:
            self.machine.waiting += 1
            self.simulation.at(0.002, self.retry)
            return
        self.taken.append(task.id)
        self.simulation.at(self.rng.expovariate(100.0), lambda: self.finish(task.id))

    def retry(self) -> None:
        self.machine.waiting -= 1
        self.reset()

    def finish(self, assignment: int) -> None:
        kind = self.rng.random()
        if kind < 0.1:
            self.machine.release(self.simulation.now, np.array([assignment], np.uint64))
            self.released += 1
        else:
            length = len(self.reported)
            self.reported.append(length)
            chosen = kind > 0.9  # the environment ran a task of its own choice
            if chosen:
                self.machine.release(self.simulation.now, np.array([assignment], np.uint64))
                self.released += 1
            self.machine.report_episode(
                self.simulation.now, 0 if chosen else assignment, 3 if chosen else None, 1.0, length, 0.5, 0
            )
        self.reset()

    def fault(self) -> None:
        if self.simulation.now >= self.faults_until:
            return
        kind = self.rng.random()
        if kind < 0.5:
            self.simulation.cut()
        elif kind < 0.7:
            self.simulation.half_open = True
            self.simulation.at(0.1 + self.rng.random() * 0.5, self.heal)
        else:
            self.simulation.up = False
            self.simulation.cut()
            self.simulation.at(self.rng.random() * 0.4, self.heal)
        self.simulation.at(self.rng.expovariate(8.0), self.fault)

    def heal(self) -> None:
        self.simulation.up, self.simulation.half_open = True, False

    def finish_all(self) -> None:
        """Let faults end, then close."""
        self.simulation.run(SECONDS)
        self.simulation.run(5.0)
        self.heal()
        self.machine.close()
        self.simulation.run(60.0, until=lambda: self.machine.closed)


@given(seed=st.integers(0, 2**32))
@settings(max_examples=40, deadline=None)
def test_every_reported_row_is_delivered_exactly_once(seed: int) -> None:
    world = World(seed)
    world.finish_all()
    assert world.machine.closed
    assert sorted(world.service.episodes) == world.reported
    assert len(world.service.released) == world.released
    assert world.service.rejected == 0
    assert len(set(world.taken)) == len(world.taken)
    statistics = world.machine.statistics()
    assert statistics.rows_answered == statistics.rows_reported == len(world.reported) + world.released
    assert statistics.rows_undelivered == 0
    assert world.service.max_unanswered_seen <= world.service.limits.max_unacknowledged_batches
    assert not world.service.open


@given(seed=st.integers(0, 2**32), supply=st.integers(0, 50))
@settings(max_examples=15, deadline=None)
def test_a_curriculum_that_is_short_of_tasks_gets_each_of_them_run_once(seed: int, supply: int) -> None:
    world = World(seed, supply=supply)
    world.faults_until = SECONDS / 2
    world.resets_until = 2 * SECONDS  # the last replies may have been under way when the faults ended
    world.finish_all()
    assert sorted(world.service.episodes) == world.reported
    assert world.service.supply == 0
    assert len(world.taken) == len(set(world.taken)) == supply


@given(seed=st.integers(0, 2**32))
@settings(max_examples=20, deadline=None)
def test_what_a_forgetful_service_loses_is_counted_to_the_row(seed: int) -> None:
    world = World(seed)
    world.simulation.at(0.5, world.service.forget)
    world.simulation.at(1.2, world.service.forget)
    world.finish_all()
    statistics = world.machine.statistics()
    assert world.machine.closed
    assert len(set(world.service.episodes)) == len(world.service.episodes)
    assert statistics.rows_reported == statistics.rows_answered + statistics.rows_undelivered
    delivered = len(world.service.episodes) + len(world.service.released) + world.service.rejected
    assert delivered >= statistics.rows_answered  # a batch whose reply was lost with the session was applied, too
    few = len(world.reported) < 10  # there was hardly a connection, and the service forgot most of it
    assert few or len(world.service.episodes) >= len(world.reported) // 3


def test_a_machine_that_would_not_resend_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = SessionMachine._opened

    def forgetful(machine: SessionMachine, message: object, now: float) -> None:
        opened(machine, message, now)  # type: ignore[arg-type]
        if machine.connection is Connection.OPEN:
            machine._outbox.clear()

    monkeypatch.setattr(SessionMachine, "_opened", forgetful)
    lost = 0
    for seed in range(5):
        world = World(seed)
        world.simulation.run(SECONDS + 1.0)
        lost += len(world.reported) - len(world.service.episodes)
    assert lost > 0
