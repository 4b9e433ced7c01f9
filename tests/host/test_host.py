"""The host: one order, each command once, each assignment ended once."""

from __future__ import annotations

import numpy as np
import pytest

from syllabus_client.task_spaces import DiscreteTaskSpace
from syllabus_client.wire import codec
from syllabus_client.wire import curriculum_pb2 as pb
from syllabus_service import commands as c
from syllabus_service.curricula import create
from syllabus_service.errors import FailedPrecondition, InvalidArgument, ResourceExhausted
from syllabus_service.host import CurriculumHost
from syllabus_service.limits import Limits
from tests.host.curricula import Fragile, Notebook
from tests.host.driving import Driver, episodes, ids_and_tasks, released


@pytest.fixture
def host() -> CurriculumHost:
    return CurriculumHost(Notebook(DiscreteTaskSpace(100), seed=0))


def total_episodes(host: CurriculumHost) -> int:
    return host.summary().num_episodes


def test_results_are_applied_before_the_draws_of_the_same_batch(host):
    worker = Driver(host)
    ids, _ = worker.draw(2)
    worker.send(episodes=episodes(ids, [1.0, 2.0]), num_tasks=1)
    assert host.curriculum.calls == [
        ["sampled", [0, 1]],
        ["episode", 0, 1.0],
        ["episode", 1, 2.0],
        ["sampled", [2]],
    ]


def test_a_resent_batch_is_answered_again_and_not_applied_again(host):
    worker = Driver(host)
    ids, _ = worker.draw(1)
    command = worker.command(2, acknowledged=1, episodes=episodes(ids), num_tasks=3)
    first = worker.apply(command)
    state = host.snapshot()
    again = host.apply([command])
    assert again.answers == [first]
    assert again.records == []
    assert host.snapshot() == state


def test_a_gap_in_the_sequence_is_refused(host):
    worker = Driver(host)
    with pytest.raises(FailedPrecondition, match=r"expected 1 .* got 2"):
        worker.apply(worker.command(2, num_tasks=1))
    assert host.position == 0


def test_another_content_under_an_applied_sequence_is_refused(host):
    worker = Driver(host)
    worker.draw(1)
    with pytest.raises(FailedPrecondition, match="another content"):
        worker.apply(worker.command(1, num_tasks=2))


def test_an_acknowledged_reply_is_not_kept(host):
    worker = Driver(host)
    worker.draw(1)
    worker.draw(1)
    with pytest.raises(FailedPrecondition, match="acknowledged"):
        worker.apply(worker.command(1, num_tasks=1))


def test_replies_that_nobody_acknowledges_are_bounded():
    host = CurriculumHost(Notebook(DiscreteTaskSpace(9)), limits=Limits(max_unacknowledged_batches=2))
    worker = Driver(host)
    worker.apply(worker.command(1, acknowledged=0, num_tasks=1))
    worker.apply(worker.command(2, acknowledged=0, num_tasks=1))
    with pytest.raises(ResourceExhausted, match="acknowledged_sequence"):
        worker.apply(worker.command(3, acknowledged=0, num_tasks=1))
    worker.apply(worker.command(3, acknowledged=1, num_tasks=1))


def test_an_episode_ends_its_assignment_once(host):
    worker = Driver(host)
    ids, _ = worker.draw(1)
    reply = worker.send(episodes=episodes([ids[0], ids[0]]))
    assert [(each.row, each.reason) for each in reply.rejections] == [(1, pb.REJECTION_REASON_ASSIGNMENT_NOT_OPEN)]
    reply = worker.send(episodes=episodes(ids))
    assert [each.row for each in reply.rejections] == [0]
    assert total_episodes(host) == 1
    assert host.summary().num_rejected == 2


def test_an_assignment_of_another_session_is_not_counted(host):
    one, other = Driver(host, "one"), Driver(host, "other")
    ids, _ = one.draw(1)
    reply = other.send(episodes=episodes(ids))
    assert reply.rejections[0].reason == pb.REJECTION_REASON_FOREIGN_ASSIGNMENT
    assert not one.send(episodes=episodes(ids)).rejections


def test_the_task_that_was_run_is_what_is_reported(host):
    worker = Driver(host)
    ids, tasks = worker.draw(1)
    assert tasks.tolist() == [0]
    worker.send(episodes=episodes(ids, [7.0], tasks=[42]))
    assert ["episode", 42, 7.0] in host.curriculum.calls
    assert host.statistics(pb.GetStatisticsRequest()).tasks.task == codec.to_tensor(np.array([42]))


def test_an_episode_of_a_task_that_was_not_handed_out_is_counted(host):
    reply = Driver(host).send(episodes=episodes([0], tasks=[5]))
    assert not reply.rejections
    assert total_episodes(host) == 1


def test_released_assignments_are_abandoned_in_the_order_given(host):
    worker = Driver(host)
    ids, _ = worker.draw(3)
    reply = worker.send(released=released([ids[2], ids[0], 12345]))
    assert host.curriculum.calls[-1] == ["abandoned", [2, 0]]
    assert [(each.part, each.row) for each in reply.rejections] == [(pb.BATCH_PART_RELEASED, 2)]
    assert host.summary().num_open_assignments == 1


def test_closing_a_session_abandons_what_it_still_holds(host):
    worker = Driver(host)
    ids, _ = worker.draw(3)
    worker.send(episodes=episodes(ids[:1]), close=True)
    assert host.curriculum.calls[-1] == ["abandoned", [1, 2]]
    assert host.summary().num_sessions == 0


def test_a_lease_that_runs_out_is_abandoned_once_and_its_late_report_is_rejected(host):
    worker = Driver(host)
    ids, _ = worker.draw(2, now=0.0)
    assert host.expire(now=119.9) is None
    command = host.expire(now=120.0)
    host.apply([command], now=120.0)
    assert host.curriculum.calls[-1] == ["abandoned", [0, 1]]
    assert host.expire(now=121.0) is None
    reply = worker.send(now=122.0, episodes=episodes(ids))
    assert len(reply.rejections) == 2
    assert total_episodes(host) == 0


def test_a_session_that_is_heard_keeps_its_lease(host):
    worker = Driver(host)
    worker.draw(1, now=0.0)
    host.touch("worker", now=100.0)
    assert host.expire(now=200.0) is None


def test_a_silent_session_is_forgotten_after_the_retention(host):
    worker = Driver(host)
    worker.draw(1, now=0.0)
    host.apply([host.expire(now=120.0)])
    assert host.expire(now=3700.0) is None
    host.apply([host.expire(now=3720.0)])
    assert host.applied_sequence("worker") == 0


def test_sessions_are_bounded_and_lost_ones_make_room():
    host = CurriculumHost(Notebook(DiscreteTaskSpace(9)), limits=Limits(max_sessions=2))
    Driver(host, "a").draw(1)
    Driver(host, "b").draw(1)
    with pytest.raises(ResourceExhausted, match="sessions"):
        Driver(host, "c").draw(1)
    host.apply([host.expire(now=120.0)])
    host.apply([host.expire(now=120.0)])
    Driver(host, "c").draw(1, now=120.0)


def test_open_assignments_of_a_session_are_bounded():
    host = CurriculumHost(Notebook(DiscreteTaskSpace(9)), limits=Limits(max_open_assignments=3))
    worker = Driver(host)
    worker.draw(2)
    with pytest.raises(ResourceExhausted, match="num_tasks"):
        worker.draw(2)
    worker.draw(1)


def test_a_curriculum_that_raises_refuses_that_episode_and_serves_everybody():
    host = CurriculumHost(Fragile(DiscreteTaskSpace(9)))
    worker, neighbour = Driver(host, "worker"), Driver(host, "neighbour")
    ids, _ = worker.draw(3)
    reply = worker.send(episodes=episodes(ids, [1.0, -1.0, 2.0]), num_tasks=1)
    assert [(each.row, each.reason) for each in reply.rejections] == [(1, pb.REJECTION_REASON_CURRICULUM_ERROR)]
    assert "no use for -1.0" in reply.curriculum_error
    assert len(ids_and_tasks(reply)[0]) == 1
    assert total_episodes(host) == 2
    assert len(neighbour.draw(1)[0]) == 1
    assert "no use for" in host.summary().last_curriculum_error


def test_a_refused_custom_update_uses_its_sequence_up_and_is_refused_again_when_resent():
    host = CurriculumHost(Fragile(DiscreteTaskSpace(9)))
    learner = Driver(host, "learner")
    with pytest.raises(InvalidArgument, match="bad: expected something else") as refusal:
        learner.custom_update(bad=[1.0])
    assert refusal.value.applied
    learner.sequence -= 1
    with pytest.raises(InvalidArgument, match="bad: expected something else"):
        learner.custom_update(bad=[1.0])
    learner.custom_update(good=[1.0])


def test_a_curriculum_that_draws_outside_its_task_space_is_an_error_of_its_own():
    class Outside(Notebook):
        def _draw(self, k):
            return np.full(k, 100)

    host = CurriculumHost(Outside(DiscreteTaskSpace(100)))
    reply = Driver(host).send(num_tasks=2)
    assert "expected tasks of the task space, got 100" in reply.curriculum_error
    assert not reply.HasField("tasks")


@pytest.mark.parametrize("keep_snapshot", [False, True])
def test_replaying_the_journal_gives_the_identical_state(keep_snapshot):
    space = DiscreteTaskSpace(50)
    host = CurriculumHost(Fragile(space, seed=3))
    workers = [Driver(host, f"w{number}") for number in range(3)]
    journal: list[bytes] = []
    snapshot, behind = b"", 0
    rng = np.random.default_rng(0)
    held: dict[str, list] = {worker.session_id: [] for worker in workers}
    for turn in range(60):
        worker = workers[turn % 3]
        ids = held[worker.session_id]
        done, held[worker.session_id] = ids[: len(ids) // 2], ids[len(ids) // 2 :]
        command = worker.command(
            worker.sequence + 1, episodes=episodes(done, rng.normal(size=len(done))), num_tasks=int(rng.integers(0, 6))
        )
        batch = host.apply([command])
        worker.sequence += 1
        journal += batch.records
        held[worker.session_id] += ids_and_tasks(batch.answers[0])[0].tolist()
        if turn == 30:
            snapshot, behind = host.snapshot(), len(journal)
    command = host.expire(now=1e6)
    journal += host.apply([command]).records

    recovered = CurriculumHost(Fragile(space, seed=3))
    if keep_snapshot:
        recovered.load_snapshot(snapshot)
        journal = journal[behind:]
    for record in journal:
        recovered.replay(record)
    assert recovered.snapshot() == host.snapshot()


def test_restoring_a_checkpoint_rewinds_the_curriculum_and_voids_later_assignments(host):
    worker, learner = Driver(host, "worker"), Driver(host, "learner")
    before, _ = worker.draw(3)
    worker.send(episodes=episodes(before[:1]))
    checkpoint = host.snapshot()
    worker.send(episodes=episodes(before[1:2]))  # reported after the checkpoint
    after, _ = worker.draw(1)  # handed out after the checkpoint

    request = pb.RestoreCheckpointRequest(session_id="learner", sequence=1, checkpoint=checkpoint)
    learner.apply(c.restore_command(request))

    assert total_episodes(host) == 1
    assert host.curriculum.calls[-1] == ["abandoned", [1]]
    assert len(worker.send(episodes=episodes(after)).rejections) == 1
    assert not worker.send(episodes=episodes(before[2:])).rejections


def test_a_checkpoint_of_another_service_abandons_what_was_open_there_though_the_ids_are_the_same(host):
    elsewhere = CurriculumHost(Notebook(DiscreteTaskSpace(100), seed=0))
    other, worker, learner = Driver(elsewhere, "other"), Driver(host, "worker"), Driver(host, "learner")
    there, _ = other.draw(2)
    here, _ = worker.draw(2)
    assert here.tolist() == there.tolist()

    request = pb.RestoreCheckpointRequest(session_id="learner", sequence=1, checkpoint=elsewhere.snapshot())
    learner.apply(c.restore_command(request))

    assert host.curriculum.calls[-1] == ["abandoned", [0, 1]]
    assert len(worker.send(episodes=episodes(here)).rejections) == 2
    assert host.summary().num_open_assignments == 0


@pytest.mark.parametrize("damage", ["flip", "cut", "garbage"])
def test_a_damaged_checkpoint_is_refused_and_changes_nothing(host, damage):
    worker = Driver(host)
    worker.draw(2)
    checkpoint = host.snapshot()
    damaged = {
        "flip": checkpoint[:-5] + bytes([checkpoint[-5] ^ 1]) + checkpoint[-4:],
        "cut": checkpoint[:-7],
        "garbage": b"not a checkpoint at all",
    }[damage]
    with pytest.raises(InvalidArgument, match="checkpoint"):
        worker.apply(
            c.restore_command(pb.RestoreCheckpointRequest(session_id="worker", sequence=2, checkpoint=damaged))
        )
    assert host.snapshot() == checkpoint


def test_a_checkpoint_of_another_task_space_or_algorithm_is_refused(host):
    other_space = CurriculumHost(Notebook(DiscreteTaskSpace(101))).snapshot()
    other_algorithm = CurriculumHost(Fragile(DiscreteTaskSpace(100))).snapshot()
    worker = Driver(host)
    for checkpoint, what in ((other_space, "task space"), (other_algorithm, "Notebook")):
        with pytest.raises(FailedPrecondition, match=what):
            worker.apply(
                c.restore_command(pb.RestoreCheckpointRequest(session_id="worker", sequence=1, checkpoint=checkpoint))
            )


def test_the_age_of_a_task_is_counted_in_commands(host):
    worker = Driver(host)
    ids, _ = worker.draw(1)
    worker.draw(1)
    worker.draw(1)
    worker.send(episodes=episodes(ids))
    assert host.summary().mean_task_age == 3


@pytest.mark.parametrize(
    ("algorithm", "params"),
    [
        ("domain_randomization", {}),
        ("sequential", {"stages": [[0, 1], [2]], "stopping_conditions": ["episodes>=2"]}),
    ],
)
def test_an_agent_for_a_curriculum_that_stores_none_is_refused(algorithm, params):
    host = CurriculumHost(create(algorithm, DiscreteTaskSpace(3), params, seed=0))
    request = pb.AddAgentRequest(session_id="learner", sequence=1, agent=b"weights")
    with pytest.raises(FailedPrecondition, match="stores no agents"):
        Driver(host, "learner").apply(c.add_agent_command(request, host.limits))
    assert host.position == 0
