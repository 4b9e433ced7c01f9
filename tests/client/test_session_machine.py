"""SessionMachine: coalescing, prefetch, backpressure, close, and what the service refuses."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest

from syllabus_client.session import Connection, SessionMachine
from syllabus_client.settings import SessionSettings
from syllabus_client.wire import curriculum_pb2 as pb
from tests.client.model_service import ModelService, Refused, Simulation


def make(service: ModelService | None = None, environments: int = 1, **settings: object) -> Simulation:
    machine = SessionMachine("maze", SessionSettings(**{"max_latency": 0.01, **settings}), rng=random.Random(1))
    machine.environments = environments
    simulation = Simulation(machine, service or ModelService())
    simulation.run(1.0, until=lambda: machine.connection is Connection.OPEN)
    return simulation


def report(simulation: Simulation, assignment: int, length: int, *, task: int | None = None, **changes: float) -> None:
    values = {"episode_return": 1.0, "length": length, "progress": 0.5, "env_id": 0} | changes
    simulation.machine.report_episode(simulation.now, assignment, task, **values)


def test_reports_within_the_latency_travel_in_one_batch() -> None:
    simulation = make(prefetch=0)
    for length in range(10):
        report(simulation, 0, length, task=3)
        simulation.run(0.0005)
    assert not simulation.service.batches
    simulation.run(0.02)
    assert simulation.service.episodes == list(range(10))
    assert len(simulation.service.batches) == 1


def test_a_full_batch_leaves_at_once() -> None:
    simulation = make(prefetch=0, max_rows=4, max_latency=5.0)
    for length in range(9):
        report(simulation, 0, length, task=3)
    simulation.run(0.01)
    assert simulation.service.episodes == list(range(8))
    simulation.run(6.0)
    assert simulation.service.episodes == list(range(9))


def test_a_batch_is_full_by_its_bytes_too() -> None:
    simulation = make(prefetch=0, max_bytes=1000, max_latency=5.0)
    columns = {
        "assignment_id": np.zeros(6, np.uint64),
        "task": np.zeros(6, np.int64),
        "reward": np.arange(6, dtype=np.float64),
        "terminated": np.zeros(6, bool),
        "truncated": np.zeros(6, bool),
        "env_id": np.zeros(6, np.int64),
    }
    simulation.machine.report_steps(simulation.now, columns, {"observation": np.zeros((6, 50), np.float64)})
    simulation.run(0.05)
    assert simulation.service.steps == [0.0, 1.0, 2.0, 3.0]  # 435 bytes a row: two fit
    assert len(simulation.service.batches) == 2
    simulation.run(5.0)
    assert simulation.service.steps == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]


def test_steps_arrive_before_the_episode_that_they_belong_to() -> None:
    simulation = make(prefetch=0, max_rows=3, max_latency=0.0)
    columns = {
        "assignment_id": np.zeros(7, np.uint64),
        "task": np.zeros(7, np.int64),
        "reward": np.arange(7, dtype=np.float64),
        "terminated": np.zeros(7, bool),
        "truncated": np.zeros(7, bool),
        "env_id": np.zeros(7, np.int64),
    }
    simulation.machine.report_steps(simulation.now, columns, {})
    report(simulation, 0, 5, task=1)
    simulation.run(0.1)
    parts = [[name.name for name, _ in each.batch.ListFields()] for each in simulation.service.batches]
    assert parts == [["steps"], ["steps"], ["steps", "episodes"]]


def test_a_batch_waits_for_the_reply_to_the_one_before_unless_it_is_full() -> None:
    simulation = make(prefetch=0, max_latency=0.01, max_rows=300)
    simulation._delay = lambda: 0.1
    for length in range(900):
        report(simulation, 0, length, task=1)
        simulation.run(0.001)
    assert len(simulation.service.batches) <= 6  # of 200 rows; one for each 0.01 s would be 90
    for length in range(900, 1500):
        report(simulation, 0, length, task=1)
    simulation.run(0.11)
    assert len(simulation.service.episodes) >= 1200  # two full ones left at once
    simulation.run(1.0)
    assert simulation.service.episodes == list(range(1500))


def test_a_refill_that_somebody_waits_for_waits_for_no_reply() -> None:
    simulation = make(environments=1)
    simulation._delay = lambda: 0.1
    simulation.machine.environments = 2
    simulation.run(0.02)
    simulation.machine.waiting = 9
    simulation.run(0.11)
    assert sum(each.batch.num_tasks for each in simulation.service.batches) >= 9


def test_refills_are_not_hurried_while_one_is_on_its_way() -> None:
    simulation = make(environments=1, max_prefetch=40)
    simulation._delay = lambda: 0.02
    waits = play(simulation, episode_seconds=0.001, seconds=4.0)
    settled = len(waits) // 2
    assert len(simulation.service.batches) < 4.0 / 0.04 + 5  # one for each round trip, at most
    assert sum(wait > 0 for wait in waits[settled:]) < settled / 10


def test_unacknowledged_batches_are_bounded_by_the_smaller_of_setting_and_limit() -> None:
    for setting, limit, expected in ((3, 8, 3), (8, 2, 2)):
        service = ModelService()
        service.limits.max_unacknowledged_batches = limit
        simulation = make(service, prefetch=0, max_latency=0.0, max_rows=1, max_unacknowledged=setting)
        simulation.half_open = True
        for length in range(20):
            report(simulation, 0, length, task=1)
        sent = simulation.machine.poll(simulation.now)
        assert len(sent) == expected
        assert simulation.machine.poll(simulation.now) == []
        assert simulation.machine.num_pending == 20 - expected
        assert simulation.machine.num_undelivered == 20


def test_tasks_are_taken_first_drawn_first_taken() -> None:
    simulation = make(environments=5)
    simulation.run(0.1)
    first = simulation.machine.take(2, simulation.now)
    simulation.run(0.1)
    second = simulation.machine.take(5, simulation.now)
    assert first is not None
    assert second is not None
    ids = [*first.ids.tolist(), *second.ids.tolist()]
    assert ids == sorted(ids) == list(range(1, 8))
    assert simulation.machine.take(6, simulation.now) is None


def test_results_travel_with_the_draws_that_follow_them() -> None:
    simulation = make()
    simulation.run(0.1)
    task = simulation.machine.take(1, simulation.now)
    assert task is not None
    report(simulation, int(task.ids[0]), 11)
    simulation.run(0.1)
    last = simulation.service.batches[-1].batch
    assert last.num_tasks == 1
    assert simulation.service.episodes == [11]


def play(simulation: Simulation, episode_seconds: float, seconds: float) -> list[float]:
    """One environment after the other takes a task, runs it, and reports; how long each had to wait."""
    machine, waits = simulation.machine, []
    environments = machine.environments
    lengths = iter(range(1, 1_000_000))

    def reset(since: float) -> None:
        waited = simulation.now - since
        task = machine.take(1, simulation.now, waited or None)
        if task is None:
            machine.waiting += 1
            poll_again(since)
            return
        waits.append(waited)
        simulation.at(episode_seconds, lambda: finish(int(task.ids[0])))

    def poll_again(since: float) -> None:
        def again() -> None:
            machine.waiting -= 1
            reset(since)

        simulation.at(0.0001, again)

    def finish(assignment: int) -> None:
        report(simulation, assignment, next(lengths))
        reset(simulation.now)

    for _ in range(environments):
        simulation.at(0.05, lambda: reset(simulation.now))
    simulation.run(seconds)
    return waits


def test_long_episodes_hold_one_task_per_environment_and_never_wait() -> None:
    simulation = make(environments=8)
    held = []
    for tick in range(400):
        simulation.at(0.1 + tick * 0.02, lambda: held.append(len(simulation.machine._ready)))
    waits = play(simulation, episode_seconds=1.0, seconds=8.0)
    assert max(held) == 8
    assert waits == [0.0] * len(waits)
    assert len(waits) >= 7 * 8


def test_short_episodes_hold_as_many_as_a_round_trip_uses() -> None:
    simulation = make(environments=1)
    waits = play(simulation, episode_seconds=0.0002, seconds=3.0)
    settled = waits[len(waits) // 3 :]
    assert sorted(settled)[len(settled) // 2] == 0.0
    assert sum(wait > 0 for wait in settled) < 0.01 * len(settled)
    statistics = simulation.machine.statistics()
    assert statistics.task_age / statistics.tasks_used < 0.05  # a few refills
    assert simulation.messages < 500  # 15,000 episodes


def test_the_number_held_falls_when_episodes_grow_long() -> None:
    simulation = make(environments=1)
    play(simulation, episode_seconds=0.0002, seconds=1.0)
    many = simulation.machine._prefetch.target(1, simulation.now)
    assert many > 20
    assert simulation.machine._prefetch.target(1, simulation.now + 3.0) == 1


def test_prefetch_is_bounded_per_environment() -> None:
    simulation = make(environments=1, max_prefetch=3)
    play(simulation, episode_seconds=0.0002, seconds=0.5)
    assert max(each.batch.num_tasks for each in simulation.service.batches) <= 3


def test_without_prefetch_a_task_is_drawn_when_somebody_waits() -> None:
    simulation = make(prefetch=0)
    simulation.run(1.0)
    assert not simulation.service.batches
    simulation.machine.waiting = 1
    simulation.run(0.0025)
    assert simulation.machine.num_ready == 1


def test_a_fixed_prefetch_is_held_per_environment() -> None:
    simulation = make(prefetch=3, environments=2)
    simulation.run(0.1)
    assert simulation.machine.num_ready == 6


def test_demand_stays_within_the_open_assignments_that_the_service_allows() -> None:
    service = ModelService()
    service.limits.max_open_assignments = 10
    simulation = make(service, environments=8)
    simulation.run(0.1)
    for _ in range(3):
        tasks = simulation.machine.take(4, simulation.now)
        simulation.run(0.1)
    assert tasks is None
    assert len(service.open) == 10
    assert simulation.machine.statistics().reconnects == 0


def test_a_short_reply_is_asked_again_with_backoff_and_at_once_after_a_report() -> None:
    service = ModelService()
    service.supply = 1
    simulation = make(service)
    simulation.run(0.1)
    task = simulation.machine.take(1, simulation.now)
    assert task is not None
    simulation.machine.waiting = 1
    simulation.run(10.0)
    asked = len(service.batches)
    assert 20 <= asked <= 40  # 20 ms, 40 ms ... 0.5 s, and then twice a second
    service.supply = 1
    report(simulation, int(task.ids[0]), 5)
    simulation.run(0.003)
    assert simulation.machine.num_ready == 1


def test_close_sends_what_is_pending_and_ends_when_it_is_answered() -> None:
    simulation = make(environments=3)
    simulation.run(0.1)
    report(simulation, 0, 17, task=4)
    simulation.machine.close()
    assert not simulation.machine.closed
    simulation.run(0.1)
    assert simulation.machine.closed
    assert simulation.service.episodes == [17]
    assert simulation.service.batches[-1].batch.close
    assert not simulation.service.open
    assert simulation.machine.connect_at() is None


def test_close_of_a_session_that_never_was_is_immediate() -> None:
    machine = SessionMachine("maze", SessionSettings())
    machine.close()
    assert machine.closed


def test_a_close_whose_reply_is_lost_is_sent_again() -> None:
    simulation = make()
    simulation.run(0.1)
    report(simulation, 0, 17, task=4)
    simulation.machine.close()
    simulation.run(0.0007)
    assert simulation.service.episodes == [17]
    simulation.cut()
    simulation.run(1.0)
    assert simulation.machine.closed
    assert simulation.service.episodes == [17]


def test_flush_is_delivered_when_the_last_report_before_it_is_answered() -> None:
    simulation = make(max_latency=60.0, prefetch=0)
    machine = simulation.machine
    assert machine.delivered(machine.flush())
    report(simulation, 0, 1, task=1)
    first, second = machine.flush(), machine.flush()
    assert not machine.delivered(first)
    simulation.run(0.01)
    report(simulation, 0, 2, task=1)
    assert machine.delivered(first)
    assert machine.delivered(second)
    simulation.run(0.1)
    assert simulation.service.episodes == [1]


@pytest.mark.parametrize(
    "changes",
    [
        {"episode_return": math.nan},
        {"episode_return": math.inf},
        {"length": -1},
        {"progress": 1.0000001},
        {"progress": math.nan},
        {"env_id": -1},
        {"metrics": {"score": math.inf}},
    ],
)
def test_an_invalid_episode_is_counted_and_its_assignment_released(changes: dict) -> None:
    simulation = make(environments=2)
    simulation.run(0.1)
    tasks = simulation.machine.take(2, simulation.now)
    assert tasks is not None
    report(simulation, int(tasks.ids[0]), **({"length": 3} | changes))
    report(simulation, int(tasks.ids[1]), 4)
    simulation.run(0.1)
    assert simulation.service.episodes == [4]
    assert simulation.service.released == [int(tasks.ids[0])]
    assert simulation.machine.statistics().episodes_invalid == 1
    (notice,) = simulation.machine.take_notices()
    assert next(iter(changes)) in notice
    assert simulation.service.batches[-1].client_statistics.episodes_invalid == 1


def test_invalid_rows_of_columns_do_not_harm_their_neighbours() -> None:
    simulation = make(environments=4)
    simulation.run(0.1)
    tasks = simulation.machine.take(4, simulation.now)
    assert tasks is not None
    columns = {
        "assignment_id": tasks.ids,
        "episode_return": np.array([1.0, np.nan, 2.0, 3.0]),
        "length": np.array([1, 2, 3, 4]),
        "progress": np.array([0.0, 0.5, 1.5, 1.0]),
        "env_id": np.arange(4),
    }
    simulation.machine.report_episodes(simulation.now, columns, {}, {})
    simulation.run(0.1)
    assert simulation.service.episodes == [1, 4]
    assert simulation.service.released == tasks.ids[1:3].tolist()
    assert simulation.machine.statistics().episodes_invalid == 2


def test_rejected_rows_are_counted_by_reason() -> None:
    simulation = make()
    simulation.run(0.1)
    report(simulation, 999, 5)
    simulation.run(0.1)
    assert simulation.machine.statistics().rows_rejected == {"assignment_not_open": 1}


def test_metrics_and_agents_travel_in_columns_of_their_own() -> None:
    simulation = make(prefetch=0)
    machine, now = simulation.machine, simulation.now
    machine.report_episode(now, 0, 1, 1.0, 5, 0.0, 0)
    machine.report_episode(now, 0, 1, 1.0, 6, 0.0, 0, {"score": 2.5}, {"red": 1.0, "blue": -1.0})
    simulation.run(0.1)
    episodes = simulation.service.batches[-1].batch.episodes
    assert np.array_equal(np.frombuffer(episodes.metrics["score"].data), np.array([np.nan, 2.5]), equal_nan=True)
    assert list(episodes.agents) == ["red", "blue"]
    assert list(episodes.agent_return.shape) == [2, 2]
    assert np.frombuffer(episodes.agent_return.data)[2:].tolist() == [1.0, -1.0]


def test_episodes_with_and_without_their_task_travel_apart() -> None:
    simulation = make(environments=2)
    simulation.run(0.1)
    tasks = simulation.machine.take(2, simulation.now)
    assert tasks is not None
    report(simulation, int(tasks.ids[0]), 1)
    report(simulation, int(tasks.ids[1]), 2, task=9)
    report(simulation, 0, 3, task=9)
    simulation.run(0.1)
    assert simulation.service.episodes == [1, 2, 3]
    assert simulation.service.rejected == 0


def test_a_lost_incarnation_begins_a_new_session_and_says_what_was_lost() -> None:
    simulation = make(environments=2)
    simulation.run(0.1)
    machine, service = simulation.machine, simulation.service
    old = machine.take(2, simulation.now)
    assert old is not None
    session = machine.session_id
    report(simulation, int(old.ids[0]), 1)
    report(simulation, 0, 2, task=4)
    service.forget()
    simulation.cut()
    simulation.run(1.0)
    assert machine.session_id != session
    new = machine.take(2, simulation.now)
    assert new is not None
    assert set(new.ids.tolist()).isdisjoint(old.ids.tolist())  # though the service counts from 1 again
    report(simulation, int(old.ids[1]), 3)
    report(simulation, int(new.ids[1]), 4)
    simulation.run(1.0)
    assert service.episodes == [2, 4]
    assert service.rejected == 0
    statistics = machine.statistics()
    assert (statistics.sessions_lost, statistics.rows_undelivered, statistics.rows_answered) == (1, 2, 2)
    assert "2 reports" not in (notice := machine.take_notices()[0])
    assert "1 reports were not delivered" in notice


def test_a_service_that_rolled_back_is_a_lost_session() -> None:
    simulation = make(prefetch=0)
    report(simulation, 0, 1, task=4)
    simulation.run(0.1)
    simulation.service.sessions[simulation.machine.session_id].applied = 0
    simulation.cut()
    report(simulation, 0, 2, task=4)
    simulation.run(1.0)
    assert simulation.machine.statistics().sessions_lost == 1
    assert simulation.service.episodes == [1, 2]


def test_a_refused_batch_is_dropped_alone_and_the_session_goes_on() -> None:
    service = ModelService()

    def refuse(message: pb.SessionBatch) -> None:
        if message.batch.HasField("episodes") and 13 in np.frombuffer(message.batch.episodes.length.data, np.int64):
            raise Refused("INVALID_ARGUMENT", "batch.episodes.length: unlucky")

    service.refuse = refuse
    simulation = make(service, environments=20, max_rows=2, max_latency=0.0)
    simulation.run(0.1)
    tasks = simulation.machine.take(20, simulation.now)
    assert tasks is not None
    for length, assignment in enumerate(tasks.ids.tolist()):
        report(simulation, assignment, length)
    simulation.run(2.0)
    assert service.episodes == [length for length in range(20) if length not in (12, 13)]
    statistics = simulation.machine.statistics()
    assert (statistics.batches_refused, statistics.rows_undelivered, statistics.sessions_lost) == (1, 2, 0)
    assert "unlucky" in simulation.machine.take_notices()[0]
    assert len(service.released) == 2


def test_a_refused_demand_is_taken_back() -> None:
    service = ModelService()

    def refuse(message: pb.SessionBatch) -> None:
        if message.batch.num_tasks > 1:
            raise Refused("RESOURCE_EXHAUSTED", "num_tasks: too many")

    service.refuse = refuse
    simulation = make(service, environments=4)
    report(simulation, 0, 3, task=1)
    simulation.run(0.5)
    assert service.episodes == [3]


@pytest.mark.parametrize("code", ["UNAUTHENTICATED", "PERMISSION_DENIED", "NOT_FOUND", "UNIMPLEMENTED"])
def test_a_status_that_retrying_cannot_change_is_fatal(code: str) -> None:
    simulation = make()
    report(simulation, 0, 3, task=1)
    simulation.cut(code, "no")
    assert simulation.machine.fatal is not None
    assert simulation.machine.fatal.code == code
    assert simulation.machine.connect_at() is None
    assert simulation.machine.statistics().rows_undelivered == 1


def test_an_invalid_open_is_fatal() -> None:
    machine = SessionMachine("no such name!", SessionSettings())
    machine.connected(0.0)
    machine.disconnected("INVALID_ARGUMENT", "open.curriculum: expected a name", 0.0)
    assert machine.fatal is not None


def test_reconnects_back_off_with_jitter_up_to_a_bound() -> None:
    settings = SessionSettings(backoff_initial=0.1, backoff_max=1.0, backoff_multiplier=2.0)
    machine = SessionMachine("maze", settings, rng=random.Random(5))
    delays, now = [], 0.0
    for _ in range(8):
        machine.connected(now)
        machine.disconnected("UNAVAILABLE", "nobody listens", now)
        at = machine.connect_at()
        assert at is not None
        delays.append(at - now)
        now = at
    bounds = [0.1, 0.2, 0.4, 0.8, 1.0, 1.0, 1.0, 1.0]
    assert all(bound / 2 <= delay <= bound for delay, bound in zip(delays, bounds, strict=True))
    assert len({delay / bound for delay, bound in zip(delays, bounds, strict=True)}) == 8


def test_a_silent_session_sends_heartbeats() -> None:
    simulation = make(prefetch=0)
    before = simulation.messages
    simulation.run(35.0)
    assert simulation.messages - before == 3
    assert simulation.machine.statistics().reconnects == 0


def test_a_connection_that_no_longer_answers_is_given_up() -> None:
    simulation = make(prefetch=0)
    simulation.half_open = True
    report(simulation, 0, 1, task=2)
    simulation.run(19.0)
    assert simulation.machine.statistics().reconnects == 0
    simulation.half_open = False
    simulation.run(2.0)
    assert simulation.machine.statistics().reconnects == 1
    assert simulation.service.episodes == [1]


def test_waits_and_ages_are_sent_along() -> None:
    simulation = make()
    simulation.run(1.0)
    assert simulation.machine.take(1, simulation.now, 0.25) is not None
    simulation.run(1.0)
    statistics = simulation.service.batches[-1].client_statistics
    assert statistics.tasks_used == 1
    assert statistics.prefetch_misses == 1
    assert statistics.reset_wait_max.ToTimedelta().total_seconds() == 0.25
    assert 0.9 < statistics.task_age.ToTimedelta().total_seconds() < 1.0


def play_in_columns(simulation: Simulation, k: int, pause: float, seconds: float) -> int:
    """Draw k tasks together, report the k drawn before, again after each pause; how many draws found too few."""
    machine, missed, drawn = simulation.machine, [0], [np.zeros(0, np.uint64)]

    def step() -> None:
        simulation.at(pause, step)
        tasks = machine.take(k, simulation.now)
        if tasks is None:
            missed[0] += 1
            return
        ids, drawn[0] = drawn[0], tasks.ids
        rows = len(ids)
        columns = {
            "assignment_id": ids,
            "episode_return": np.ones(rows),
            "length": np.ones(rows, np.int64),
            "progress": np.zeros(rows),
            "env_id": np.zeros(rows, np.int64),
        }
        machine.report_episodes(simulation.now, columns, {}, {})

    simulation.at(0.05, step)
    simulation.run(seconds)
    return missed[0]


def test_draws_of_many_find_their_tasks_at_hand_and_cost_no_batch_each() -> None:
    simulation = make(environments=8, max_latency=0.1)
    play_in_columns(simulation, k=4, pause=0.001, seconds=2.0)
    before = len(simulation.service.batches)
    assert play_in_columns(simulation, k=4, pause=0.001, seconds=2.0) == 0
    assert len(simulation.service.batches) - before < 2.0 / 0.1 + 5  # for 4,000 draws of both players


def test_tasks_of_short_episodes_are_no_older_than_a_latency_and_one_batch_leaves_in_each() -> None:
    latency = SessionSettings().max_latency
    simulation = make(environments=1, max_latency=latency)
    machine, marks = simulation.machine, []
    simulation.at(2.0, lambda: marks.append((machine.statistics(), len(simulation.service.batches))))
    play(simulation, episode_seconds=0.0006, seconds=6.0)
    (settled, batches), statistics = marks[0], machine.statistics()
    used = statistics.tasks_used - settled.tasks_used
    assert used > 6000
    assert statistics.prefetch_misses == settled.prefetch_misses
    assert (statistics.task_age - settled.task_age) / used < latency
    assert len(simulation.service.batches) - batches < 1.2 * 4.0 / latency


def test_nobody_has_to_give_notice_while_the_session_is_at_work() -> None:
    simulation = make(environments=1, max_latency=0.2)
    asked = []
    for tick in range(1000):
        simulation.at(0.5 + tick * 0.007, lambda: asked.append(simulation.machine.wants_notice))
    play(simulation, episode_seconds=0.3, seconds=8.0)
    assert len(asked) == 1000
    assert not any(asked)


def test_a_session_that_was_at_work_sleeps_until_it_has_notice_again() -> None:
    simulation = make(prefetch=0, max_latency=0.2)
    report(simulation, 0, 1, task=1)
    simulation.run(0.3)
    assert not simulation.machine.wants_notice
    simulation.run(2.0)
    assert simulation.machine.wants_notice
    wakeup = simulation.machine.next_wakeup(simulation.now)
    assert wakeup is not None
    assert wakeup > simulation.now + 1.0
