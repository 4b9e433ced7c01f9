"""CurriculumSampler: what it yields, and what the service counts of what it is told."""

from __future__ import annotations

import itertools
import pickle
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from syllabus_client import CurriculumClient, CurriculumSampler, DiscreteTaskSpace
from syllabus_service.curricula import create
from tests.wrappers.embedded_thread import EmbeddedThread

N = 20


@pytest.fixture
def learner(tmp_path: Path) -> Iterator[CurriculumClient]:
    """A curriculum on the letters from a, whose indices are a dataset's rows."""
    space = DiscreteTaskSpace([chr(ord("a") + index) for index in range(N)])
    curriculum = create("learnability", space, {"update_interval": 12, "topk": 3, "learnable_prob": 0.9}, seed=1)
    service = EmbeddedThread(curriculum, name="prompts", listen=f"unix:{tmp_path}/s", lease=60.0)
    with CurriculumClient(service.address, curriculum="prompts") as client:
        yield client
    service.stop()


def sampler_of(learner: CurriculumClient, **arguments) -> CurriculumSampler:
    return CurriculumSampler(learner.target.address, curriculum="prompts", **arguments)


def test_each_prompt_comes_as_a_group_and_each_batch_as_often_as_asked(learner):
    with sampler_of(learner, num_samples=7, batch_size=3, group_size=2, repeat_count=2) as sampler:
        rows = list(sampler)
        assert len(rows) == len(sampler) == 2 * 3 * 2 * 2
    for batch in np.reshape(rows, (2, 2, 3, 2)):
        assert (batch[0] == batch[1]).all()
        assert (batch[..., 0] == batch[..., 1]).all()
    assert learner.summary().num_assignments == 6


def test_a_trainer_that_repeats_prompts_itself_gets_each_once(learner):
    with sampler_of(learner, batch_size=5, group_size=4, expand_groups=False) as sampler:
        assert len(list(sampler)) == len(sampler) == N
        assert set(sampler) <= set(range(N))


def test_every_rollout_is_an_episode_and_every_prompt_an_assignment_that_ends(learner):
    with sampler_of(learner, num_samples=12, batch_size=6, group_size=4, expand_groups=False) as sampler:
        rewards = np.zeros(N)
        for prompts in np.reshape(list(sampler), (2, 6)):
            rows = np.repeat(prompts, 4)[::-1]
            scores = np.arange(24) / 10
            np.add.at(rewards, rows, scores)
            sampler.report(rows, scores, progress=scores > 1, lengths=np.full(24, 7))
        sampler.flush()
        summary = learner.summary()
        assert (summary.num_episodes, summary.num_steps) == (48, 48 * 7)
        assert (summary.num_assignments, summary.num_open_assignments, summary.num_rejected) == (12, 0, 0)
    tasks = learner.statistics().tasks
    sums = np.zeros(N)
    sums[tasks.tasks] = tasks.num_episodes * tasks.return_mean
    np.testing.assert_allclose(sums, rewards)
    assert learner.statistics().total.success_rate[0] == 26 / 48
    assert learner.summary().num_abandoned == 0


def test_what_is_reported_moves_the_next_draw(learner):
    with sampler_of(learner, num_samples=400, batch_size=40) as sampler:
        rows = iter(sampler)
        first = [next(rows) for _ in range(40)]
        assert len(set(first)) > 3
        half_solved = [5, 6, 7] * 4
        sampler.report([*range(N)] * 6, [0.0] * 6 * N)
        sampler.report(half_solved, [0.0, 0.0, 0.0, 1.0, 1.0, 1.0] * 2)
        drawn = [next(rows) for _ in range(40)]
    assert np.isin(drawn, half_solved).mean() > 0.6


def test_an_epoch_goes_on_where_its_state_was_and_the_next_one_is_whole(learner):
    sizes = {"num_samples": 6, "batch_size": 2, "group_size": 3}
    with sampler_of(learner, **sizes) as sampler:
        before = list(itertools.islice(sampler, 8))
        state = pickle.loads(pickle.dumps(sampler.state_dict()))
    with sampler_of(learner, **sizes) as resumed:
        resumed.load_state_dict(state)
        rows = iter(resumed)
        after = [next(rows) for _ in range(4)]
        assert after[0] == before[6]  # the rest of a group and of its batch: of prompts that were drawn before
        resumed.report(before[6:] + after, np.ones(6))
        after += rows
        assert len(before) + len(after) == len(resumed) == len(list(resumed))
        resumed.flush()
        assert learner.summary().num_episodes == 6
        with pytest.raises(ValueError, match="state: expected one of batches of 2 prompts"):
            resumed.load_state_dict({**state, "prompts": [1]})


def test_an_iteration_that_was_left_starts_anew(learner):
    with sampler_of(learner, num_samples=4, batch_size=2) as sampler:
        next(iter(sampler))
        assert len(list(sampler)) == 4


def test_prompts_that_were_not_reported_are_given_back_at_the_end(learner):
    with sampler_of(learner, batch_size=5) as sampler:
        rows = list(itertools.islice(sampler, 5))
        sampler.report(rows[:2], [1.0, 0.0])
        copy = pickle.loads(pickle.dumps(sampler))
    copy.close()  # holds nothing
    summary = learner.summary()
    assert (summary.num_open_assignments, summary.num_abandoned, summary.num_episodes) == (0, 3, 2)


def test_rollouts_of_prompts_that_were_drawn_elsewhere_are_counted(learner):
    with sampler_of(learner) as sampler:
        sampler.report(np.array([3, 3, 4], np.int32), [True, False, True])
        sampler.report([], [])
    summary = learner.summary()
    assert (summary.num_episodes, summary.num_rejected) == (3, 0)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (([N], [1.0]), rf"indices: expected 0 to {N - 1}, got {N} to {N}"),
        (([1.5], [1.0]), "indices: expected whole numbers"),
        (([1, 2], [1.0]), "rewards: expected numbers, .* as many as indices"),
        (([1], [float("nan")]), "rewards: expected finite numbers"),
        ((["b"], [1.0]), "indices: expected whole numbers"),
    ],
)
def test_rollouts_that_make_no_sense_are_refused_and_nothing_of_them_counts(learner, arguments, problem):
    with sampler_of(learner) as sampler:
        with pytest.raises(ValueError, match=problem):
            sampler.report(*arguments)
        for name, value in (("progress", [1.5]), ("lengths", [-1]), ("metrics", {"score": [1.0, 2.0]})):
            with pytest.raises(ValueError, match="score" if name == "metrics" else name):
                sampler.report([1], [1.0], **{name: value})
    assert learner.summary().num_episodes == 0


def test_sizes_are_checked():
    for arguments in ({"batch_size": 0}, {"group_size": 0}, {"repeat_count": 0}, {"num_samples": 3, "batch_size": 4}):
        with pytest.raises(ValueError, match=next(iter(arguments))):
            CurriculumSampler("unix:nowhere", curriculum="prompts", **arguments)
