"""Prioritized level replay: what it scores, what it refuses, when it replays, and what it forgets."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from syllabus_client.task_spaces import DiscreteTaskSpace, MultiDiscreteTaskSpace
from syllabus_service.curricula import EVALUATE, TRAIN, EpisodeBatch, InvalidParamsError, create
from syllabus_service.curricula.plr_scores import STRATEGIES, UNSCORED_STRATEGIES
from syllabus_service.curricula.plr_transforms import TRANSFORMS

from . import chi_square
from .streams import bits

quick = settings(max_examples=40, deadline=None, derandomize=True)
seeds = st.integers(0, 2**32 - 1)


def level_replay(num_tasks=6, **params):
    return create("prioritized_level_replay", DiscreteTaskSpace(num_tasks), params, seed=3)


def seen(num_tasks=6, **params):
    """A curriculum with a score for every task, rising with the id."""
    curriculum = level_replay(num_tasks, **params)
    curriculum.custom_update(tasks=np.arange(num_tasks), scores=np.linspace(0.1, 0.9, num_tasks))
    return curriculum


def random_rollout(rng, steps, actors, tasks=None, **kwargs):
    shape = (steps, actors)
    return {
        "tasks": np.tile(np.arange(actors), (steps, 1)) if tasks is None else tasks,
        "rewards": rng.normal(size=shape),
        "values": rng.normal(size=shape),
        "dones": rng.random(shape) < 0.2,
        "next_value": rng.normal(size=actors),
        "logits": rng.normal(size=(*shape, 5)),
        **kwargs,
    }


# Known failures, line 19: what breaks in Syllabus 0.7


def test_known_failure_19_with_default_arguments_it_goes_on_once_every_task_was_seen():
    curriculum = level_replay()
    for _ in range(20):
        tasks = curriculum.sample(3)
        curriculum.custom_update(tasks=tasks, scores=np.full(3, 0.5))
    assert not np.isnan(curriculum.scores()).any()
    assert len(curriculum.sample(50)) == 50
    assert abs(curriculum.distribution().sum() - 1) < 1e-12


def test_known_failure_19_scores_can_be_given_directly():
    curriculum = level_replay(alpha=0.5)
    curriculum.custom_update(tasks=[4, 1, 4], scores=[1.0, 0.4, 0.2])
    assert curriculum.scores().tolist() == pytest.approx([np.nan, 0.2, np.nan, np.nan, 0.35, np.nan], nan_ok=True)


@pytest.mark.parametrize("length", [1, 2, 7, 50])
def test_known_failure_19_a_score_does_not_grow_with_the_length_of_the_episode(length):
    curriculum = level_replay(gamma=1.0, gae_lambda=0.0)
    dones = np.zeros((length, 1), dtype=bool)
    dones[-1] = True
    ones = np.ones((length, 1))  # each step: |r + V' - V| = |1 + 2 - 2| = 1, and |3 + 0 - 2| = 1 at the end
    rewards = ones.copy()
    rewards[-1] = 3
    curriculum.custom_update(tasks=ones.astype(int), rewards=rewards, values=2 * ones, next_value=[0.0], dones=dones)
    assert curriculum.scores()[1] == pytest.approx(1.0)


@pytest.mark.parametrize("given", [{"scores": [0.1, 0.9]}, {"rewards": [0, 0], "values": [0, 0], "dones": [1, 1]}])
@pytest.mark.parametrize("task", [-1, 6, 2**40])
def test_known_failure_19_an_unknown_task_is_refused_by_name_and_nothing_changes(task, given):
    curriculum = seen()
    before = bits(curriculum.state_dict())
    with pytest.raises(ValueError, match=r"tasks: .* got"):
        curriculum.custom_update(tasks=[2, task], **given)
    with pytest.raises(ValueError, match=r"tasks: .* got"):
        curriculum.update_on_episodes(episodes([2, task], score=[0.5, 0.5]))
    assert bits(curriculum.state_dict()) == before


def test_known_failure_19_the_max_transform_leaves_the_scores_alone():
    curriculum = level_replay(score_transform="max", staleness_coef=0.0)
    curriculum.custom_update(tasks=[1, 3], scores=[0.2, 0.7])
    assert curriculum.distribution(replay=True).tolist() == [0, 0, 0, 1, 0, 0]
    assert curriculum.scores()[[1, 3]].tolist() == [0.2, 0.7]
    assert np.isfinite(curriculum.state_dict()["fields"]["replay_state"]["task_scores"]).all()


def test_known_failure_19_importing_it_changes_nothing_of_how_numpy_treats_errors():
    code = (
        "import numpy as np; before = np.geterr();"
        "import syllabus_service.curricula.prioritized_level_replay;"
        "assert np.geterr() == before; assert np.exp(np.float64(-1000)) == 0"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=60)


@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize("strategy", ["grounded_signed_value_loss", "grounded_positive_value_loss"])
def test_known_failure_19_grounded_strategies_compare_v_with_the_best_return(strategy, dense):
    curriculum = level_replay(strategy=strategy, use_dense_rewards=dense)
    values = np.array([[0.5], [2.0], [0.0], [3.0]])
    rewards, dones = np.array([[0.0], [1.0], [0.0], [0.5]]), np.array([[0], [1], [0], [1]])
    curriculum.custom_update(tasks=np.full((2, 1), 2), rewards=rewards[:2], values=values[:2], dones=dones[:2])
    gaps = np.array([0.5, -1.0])[: 1 if dense else 2]
    gaps = np.maximum(gaps, 0) if "positive" in strategy else gaps
    assert curriculum.scores()[2] == pytest.approx(gaps.mean())
    # The second episode earns less: the best return stays 1.
    curriculum.custom_update(tasks=np.full((2, 1), 2), rewards=rewards[2:], values=values[2:], dones=dones[2:])
    gaps = np.array([1.0, -2.0])[: 1 if dense else 2]
    gaps = np.maximum(gaps, 0) if "positive" in strategy else gaps
    assert curriculum.scores()[2] == pytest.approx(gaps.mean())


@pytest.mark.parametrize("strategy", ["policy_entropy", "least_confidence", "min_margin"])
def test_known_failure_19_policy_strategies_see_an_episode_end(strategy):
    curriculum = level_replay(strategy=strategy)
    logits = np.log([[[0.5, 0.25, 0.25]], [[0.8, 0.1, 0.1]]])
    tasks = np.full((2, 1), 3)
    curriculum.custom_update(tasks=tasks, dones=[[False], [False]], logits=logits)
    assert np.isnan(curriculum.scores()).all()
    curriculum.custom_update(tasks=tasks, dones=[[True], [False]], logits=logits)
    policies = np.exp(logits[[0, 1, 0], 0])
    expected = {
        "policy_entropy": (-(policies * np.log(policies)).sum(axis=1) / np.log(3)).mean(),
        "least_confidence": (1 - policies.max(axis=1)).mean(),
        "min_margin": np.mean([1 - 0.25, 1 - 0.7, 1 - 0.25]),
    }
    assert curriculum.scores()[3] == pytest.approx(expected[strategy])


def test_known_failure_19_tasks_that_do_not_start_at_0_are_told_apart_by_their_ids():
    space = DiscreteTaskSpace(range(100, 105))
    curriculum = create("prioritized_level_replay", space, {"rho": 0.1}, seed=0)
    curriculum.custom_update(tasks=space.encode_many([101, 104]), scores=[0.3, 0.6])
    assert curriculum.scores().tolist() == pytest.approx([np.nan, 0.3, np.nan, np.nan, 0.6], nan_ok=True)
    assert set(space.decode_many(curriculum.sample(200))) == {100, 101, 102, 103, 104}


def test_known_failure_19_the_state_does_not_grow_with_environments_times_tasks():
    def size(state):
        if isinstance(state, dict):
            return sum(map(size, state.values()))
        return state.nbytes if isinstance(state, np.ndarray) else 8

    sizes = {}
    for actors in (1, 512):
        curriculum = level_replay(2000, num_actors=actors)
        rng = np.random.default_rng(0)
        curriculum.custom_update(**random_rollout(rng, 4, actors, rng.integers(0, 2000, size=(4, actors))))
        sizes[actors] = size(curriculum.state_dict())
    assert sizes[512] < 100 * 2000 + 512 * 100
    assert sizes[512] - sizes[1] < 512 * 100


def test_the_state_of_any_number_of_environments_is_bounded():
    curriculum = level_replay(max_unfinished_episodes=5)
    rng = np.random.default_rng(0)
    for round in range(4):
        rollout = random_rollout(rng, 2, 3, dones=np.zeros((2, 3), dtype=bool), env_ids=np.arange(3) + 3 * round)
        curriculum.custom_update(**rollout)
    kept = curriculum.state_dict()["fields"]["replay_state"]["partial_episodes"]["env_ids"]
    assert kept.tolist() == [7, 8, 9, 10, 11]


# Scores


@pytest.mark.parametrize("strategy", sorted(set(STRATEGIES) - set(UNSCORED_STRATEGIES)))
@given(seed=seeds)
@quick
def test_every_strategy_gives_finite_scores_to_the_tasks_whose_episodes_ended(strategy, seed):
    rng = np.random.default_rng(seed)
    curriculum = level_replay(strategy=strategy, max_score_coef=0.3)
    steps, actors = int(rng.integers(1, 9)), int(rng.integers(1, 6))
    rollout = random_rollout(rng, steps, actors)
    curriculum.custom_update(**rollout)
    ended = np.zeros(6, dtype=bool)
    ended[:actors] = rollout["dones"].any(axis=0)
    assert (np.isfinite(curriculum.scores()) == ended).all()


@pytest.mark.parametrize(
    "strategy", ["uniform", "policy_entropy", "min_margin", "grounded_positive_value_loss", "one_step_td_error"]
)
@given(seed=seeds, cut=st.integers(1, 11))
@quick
def test_an_episode_has_one_score_however_its_steps_are_cut_into_rollouts(strategy, seed, cut):
    rng = np.random.default_rng(seed)
    whole = random_rollout(rng, 12, 3)
    values_after = np.vstack([whole["values"][1:], whole.pop("next_value")[np.newaxis]])
    whole["next_values"] = values_after
    once, twice = (level_replay(strategy=strategy, max_score_coef=0.4, alpha=0.7) for _ in range(2))
    once.custom_update(**whole, env_ids=[7, 8, 9])
    twice.custom_update(**{name: array[:cut] for name, array in whole.items()}, env_ids=[7, 8, 9])
    # The environments may come in another order.
    twice.custom_update(**{name: array[cut:, ::-1] for name, array in whole.items()}, env_ids=[9, 8, 7])
    np.testing.assert_allclose(twice.scores(), once.scores(), rtol=1e-12)


def test_an_unfinished_episode_is_dropped_when_its_environment_goes_on_with_another_task():
    curriculum = level_replay(strategy="uniform")
    curriculum.custom_update(tasks=[[1], [1]], dones=[[0], [0]])
    curriculum.custom_update(tasks=[[2], [3]], dones=[[0], [1]])
    curriculum.custom_update(tasks=[[1]], dones=[[0]])
    assert np.flatnonzero(~np.isnan(curriculum.scores())).tolist() == [3]


def test_a_single_step_may_leave_out_its_dimension():
    one, two = level_replay(), level_replay()
    for done in (False, True):
        step = {"tasks": [1, 4], "rewards": [0.5, 2.0], "values": [0.1, 0.2], "next_values": [0.3, 0.4]}
        one.custom_update(**step, dones=[done, True])
        two.custom_update(**{name: [column] for name, column in step.items()}, dones=[[done, True]])
    assert bits(one.state_dict()) == bits(two.state_dict())
    assert np.flatnonzero(~np.isnan(one.scores())).tolist() == [1, 4]


def test_values_after_done_steps_are_not_read():
    curriculum = level_replay()
    curriculum.custom_update(
        tasks=[[1], [1]], rewards=[[1.0], [1.0]], values=[[0.0], [0.0]], dones=[[1], [1]], next_value=[np.nan]
    )
    assert curriculum.scores()[1] == pytest.approx(1.0)


def test_alt_advantage_is_the_discounted_return_minus_v_or_what_the_learner_says():
    rollout = {"tasks": [[2]] * 3, "rewards": [[1.0], [2.0], [4.0]], "values": [[1.0]] * 3, "dones": [[0], [0], [1]]}
    curriculum = level_replay(strategy="alt_advantage_abs", gamma=0.5, gae_lambda=0.3)
    curriculum.custom_update(**rollout, next_value=[9.0])
    assert curriculum.scores()[2] == pytest.approx(np.mean([1 + 1 + 1 - 1, 2 + 2 - 1, 4 - 1]))
    curriculum.custom_update(**rollout, alt_returns=[[1.0], [0.0], [3.0]])
    assert curriculum.scores()[2] == pytest.approx((0 + 1 + 2) / 3)


def episodes(tasks, **metrics):
    n = len(tasks)
    return EpisodeBatch(
        np.array(tasks),
        np.zeros(n),
        np.ones(n, dtype=np.int64),
        np.zeros(n),
        np.zeros(n, dtype=np.int64),
        {name: np.array(column, dtype=np.float64) for name, column in metrics.items()},
    )


def test_a_score_may_come_with_the_episode():
    curriculum = level_replay(max_score_coef=0.5)
    nan = np.nan
    curriculum.update_on_episodes(episodes([0, 1, 2, 3], score=[0.4, nan, 0.2, 0.1], max_score=[0.8, 1.0, nan, 0.5]))
    assert curriculum.scores()[:4].tolist() == pytest.approx([0.6, nan, 0.2, 0.3], nan_ok=True)
    assert curriculum.num_episodes == 4
    curriculum.update_on_episodes(episodes([4, 5]))
    assert np.isnan(curriculum.scores()[4:]).all()


@pytest.mark.parametrize(
    ("metrics", "name"),
    [
        ({"tasks": [1], "scores": [np.inf]}, "scores"),
        ({"tasks": [1, 2], "scores": [0.1]}, "scores"),
        ({"tasks": [1], "scores": [0.1], "max_scores": [np.nan]}, "max_scores"),
        ({"tasks": [1.5], "scores": [0.1]}, "tasks"),
        ({"tasks": [[1]], "scores": [0.1]}, "tasks"),
        ({"scores": [0.1]}, "tasks"),
        ({"tasks": [1], "scores": [0.1], "rewards": [1.0]}, "rewards"),
        ({"tasks": [1], "rewards": [1.0], "values": [1.0], "next_value": [0.0]}, "dones"),
        ({"tasks": [1], "values": [1.0], "next_value": [0.0], "dones": [True]}, "rewards"),
        ({"tasks": [1], "rewards": [1.0], "next_value": [0.0], "dones": [True]}, "values"),
        ({"tasks": [1], "rewards": [1.0], "values": [1.0], "dones": [True]}, "next_value"),
        ({"tasks": [1], "rewards": [np.nan], "values": [1.0], "next_value": [0.0], "dones": [1]}, "rewards"),
        ({"tasks": [1], "rewards": [1.0], "values": [[[1.0]]], "next_value": [0.0], "dones": [1]}, "values"),
        ({"tasks": [1], "rewards": [1.0], "values": [1.0], "next_value": [np.inf], "dones": [0]}, "next_value"),
        (
            {"tasks": [1, 2], "rewards": [1.0] * 2, "values": [1.0] * 2, "next_value": [0.0] * 2, "dones": [0] * 2}
            | {"env_ids": [3, 3]},
            "env_ids",
        ),
    ],
)
def test_an_update_that_cannot_be_used_is_refused_by_name_and_changes_nothing(metrics, name):
    curriculum = seen()
    curriculum.custom_update(tasks=[1], rewards=[1.0], values=[1.0], next_value=[0.0], dones=[False])
    before = bits(curriculum.state_dict())
    with pytest.raises(ValueError, match=rf"^{name}:"):
        curriculum.custom_update(**metrics)
    assert bits(curriculum.state_dict()) == before


@pytest.mark.parametrize(
    ("params", "name"),
    [
        ({"strategy": "no"}, "strategy"),
        ({"score_transform": "no"}, "score_transform"),
        ({"staleness_transform": "no"}, "staleness_transform"),
        ({"replay_schedule": "no"}, "replay_schedule"),
        ({"temperature": 0}, "temperature"),
        ({"staleness_temperature": -1}, "temperature"),
        ({"alpha": 0}, "alpha"),
        ({"rho": 1.1}, "rho"),
        ({"nu": 0.5, "replay_prob": 0.5}, "nu"),
        ({"buffer_size": 4}, "buffer_size"),
        ({"max_age": -1}, "max_age"),
        ({"gamma": float("nan")}, "gamma"),
    ],
)
def test_a_parameter_out_of_range_is_refused_by_name(params, name):
    with pytest.raises(InvalidParamsError, match=name):
        level_replay(**params)


# Schedules


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"rho": 0.0, "replay_schedule": "fixed", "replay_prob": 0.3}, [0, 0.3, 0.3, 1]),
        ({"rho": 0.5, "replay_schedule": "fixed", "nu": 0.3}, [0, 0, 0.7, 1]),
        ({"rho": 0.0}, [0, 0.25, 0.75, 1]),
        ({"rho": 0.5}, [0, 0, 0.75, 1]),
        ({}, [0, 0, 0, 1]),
    ],
)
def test_the_schedule_decides_how_often_a_seen_task_is_replayed(params, expected):
    for count, probability in zip([0, 1, 3, 4], expected, strict=True):
        curriculum = level_replay(4, **params)
        curriculum.custom_update(tasks=np.arange(count), scores=np.ones(count))
        assert curriculum.replay_probability == pytest.approx(probability)
        distribution = curriculum.distribution()
        assert distribution[:count].sum() == pytest.approx(probability)
        assert distribution[count:].tolist() == pytest.approx([(1 - probability) / max(4 - count, 1)] * (4 - count))
        drawn = curriculum.sample(400)
        assert np.mean(drawn < count) == pytest.approx(probability, abs=0.12)


def test_of_two_equal_scores_the_higher_id_has_the_better_rank():
    curriculum = level_replay(4, temperature=1.0, staleness_coef=0.0)
    curriculum.custom_update(tasks=[0, 1, 2, 3], scores=[0.5, 0.5, 0.5, 0.9])
    order = np.argsort(-curriculum.distribution())
    assert order.tolist() == [3, 2, 1, 0]


# Draws: many at a time, and at sizes where the structures behind them matter


@pytest.mark.parametrize("score_transform", ["rank", "power", "softmax", "match", "match_rank"])
def test_draws_of_many_tasks_follow_the_distribution_while_scores_change(score_transform):
    rng = np.random.default_rng(5)
    count = 3000
    curriculum = level_replay(count, score_transform=score_transform, temperature=1.0, staleness_coef=0.0)
    curriculum.custom_update(tasks=np.arange(count), scores=rng.random(count))
    for _ in range(12):
        changed = rng.integers(0, count, size=400)
        curriculum.custom_update(tasks=changed, scores=np.round(rng.random(400), 2))
    distribution = curriculum.distribution()
    drawn = curriculum.draw(20_000)
    np.testing.assert_allclose(drawn.probabilities, distribution[drawn.tasks], rtol=1e-9)
    groups = np.argsort(distribution) * 60 // count  # 60 groups of tasks of like probability
    chi_square.assert_follows(
        np.bincount(groups[drawn.tasks], minlength=60), np.bincount(groups, weights=distribution, minlength=60)
    )


@pytest.mark.parametrize("staleness_transform", ["power", "softmax"])
@pytest.mark.parametrize("staleness_temperature", [0.3, 1.5])
@pytest.mark.parametrize("num_tasks", [8, 16])  # fewer, and more, than are drawn at one time
def test_the_last_of_many_stale_draws_is_distributed_as_after_single_draws(
    staleness_transform, staleness_temperature, num_tasks
):
    curriculum = seen(
        num_tasks,
        staleness_coef=0.7,
        temperature=0.5,
        staleness_transform=staleness_transform,
        staleness_temperature=staleness_temperature,
    )
    curriculum.sample(30)
    state = curriculum.state_dict()
    counts = np.zeros((2, 8, 8))
    for trial in range(200):
        for way, parts in enumerate(((12,), (1,) * 12)):
            curriculum.load_state_dict(state)
            curriculum.rng = np.random.default_rng([trial, way])
            drawn = np.concatenate([curriculum.sample(part) for part in parts])
            counts[way, drawn[10] % 8, drawn[11] % 8] += 1
    chi_square.assert_same(counts[0].ravel(), counts[1].ravel())


@given(seed=seeds, transform=st.sampled_from(TRANSFORMS), staleness=st.sampled_from(TRANSFORMS))
@quick
def test_k_draws_know_their_probability_for_the_first_one(seed, transform, staleness):
    rng = np.random.default_rng(seed)
    curriculum = level_replay(
        30, score_transform=transform, staleness_transform=staleness, rho=0.2, temperature=0.7, staleness_coef=0.5
    )
    for _ in range(4):
        tasks = rng.integers(0, 30, size=12)
        curriculum.custom_update(tasks=tasks, scores=rng.choice([-0.5, 0.0, 0.2, 0.7, 1.0], size=12))
        curriculum.sample(int(rng.integers(1, 20)))
    distribution = curriculum.distribution()
    drawn = curriculum.draw(9)
    assert drawn.probabilities[0] == pytest.approx(distribution[drawn.tasks[0]], rel=1e-9)


def test_with_linear_staleness_every_one_of_k_draws_knows_its_probability():
    together, apart = seen(8, staleness_coef=0.6), seen(8, staleness_coef=0.6)
    together.sample(13), apart.sample(13)
    drawn = together.draw(50)
    for task, probability in zip(drawn.tasks, drawn.probabilities, strict=True):
        assert apart.distribution()[task] == pytest.approx(probability, rel=1e-12)
        apart.on_sampled(np.array([task]))


def test_scores_of_any_size_leave_something_to_draw():
    for transform in TRANSFORMS:
        curriculum = level_replay(5, score_transform=transform, temperature=0.01, rho=0.0)
        for scores in ([1e-300] * 5, [1e300] * 5, [0.0] * 5, [-1e300] * 5, [1e300, -1e300, 0, 1e-300, 1]):
            curriculum.custom_update(tasks=np.arange(5), scores=scores)
            assert abs(curriculum.distribution().sum() - 1) < 1e-9
            drawn = curriculum.draw(20)
            assert (drawn.probabilities > 0).all()


# Robust PLR


def test_robust_level_replay_evaluates_what_is_new_and_trains_on_replays():
    curriculum = create(
        "robust_prioritized_level_replay",
        DiscreteTaskSpace(10),
        {"rho": 0.1, "replay_schedule": "fixed", "replay_prob": 0.5},
        seed=1,
    )
    assert set(curriculum.draw(20).purposes) == {EVALUATE}
    curriculum.custom_update(tasks=[2, 5], scores=[0.4, 0.6])
    drawn = curriculum.draw(200)
    assert ((drawn.purposes == TRAIN) == np.isin(drawn.tasks, [2, 5])).all()
    assert set(drawn.purposes) == {EVALUATE, TRAIN}


# The bounded buffer


def buffered(size=4, **params):
    params = {"rho": 0.0, "temperature": 1.0, **params}
    space = DiscreteTaskSpace(2**63 - 1)
    return create("prioritized_level_replay", space, {"buffer_size": size, **params}, seed=2)


def score(curriculum, scores):
    """Draw new tasks until there is one for each score, and score them; return them."""
    tasks = []
    while len(tasks) < len(scores):
        drawn = curriculum.sample(1)
        if not curriculum.has_score(drawn)[0]:
            tasks.append(drawn[0])
    curriculum.custom_update(tasks=tasks, scores=scores)
    return np.array(tasks)


def test_a_buffer_keeps_the_tasks_with_the_highest_weights():
    curriculum = buffered(staleness_coef=0.0)
    first = score(curriculum, [0.5, 0.1, 0.7, 0.3])
    better = score(curriculum, [0.2])
    assert set(curriculum.buffered_tasks()) == {*first[[0, 2, 3]], better[0]}
    worse = score(curriculum, [0.15])
    assert not curriculum.has_score(worse)[0]
    assert sorted(curriculum.scores()) == [0.2, 0.3, 0.5, 0.7]


def test_a_late_report_of_an_evicted_task_is_ignored():
    curriculum = buffered(staleness_coef=0.0)
    first = score(curriculum, [0.5, 0.1, 0.7, 0.3])
    score(curriculum, [0.9])
    before = bits(curriculum.state_dict())
    curriculum.custom_update(tasks=[first[1]], scores=[100.0])
    assert bits(curriculum.state_dict()) == before
    assert not curriculum.has_score(first[1:2])[0]


def test_an_episode_that_outlives_its_task_in_the_buffer_scores_nothing():
    curriculum = buffered(staleness_coef=0.0, strategy="uniform")
    first = score(curriculum, [0.5, 0.1, 0.7, 0.3])
    curriculum.custom_update(tasks=[first[1]], dones=[False])
    score(curriculum, [0.9])
    curriculum.custom_update(tasks=[first[1]], dones=[True])
    assert sorted(curriculum.scores()) == [0.3, 0.5, 0.7, 0.9]


def test_an_abandoned_new_task_is_expected_no_more():
    curriculum = buffered()
    tasks = curriculum.sample(3)
    curriculum.on_abandoned(tasks[:1])
    curriculum.custom_update(tasks=tasks, scores=[0.1, 0.2, 0.3])
    assert curriculum.has_score(tasks).tolist() == [False, True, True]


def test_a_buffered_space_has_no_distribution_but_its_slots_have():
    curriculum = buffered()
    score(curriculum, [0.5, 0.1])
    with pytest.raises(NotImplementedError):
        curriculum.distribution()
    slots = curriculum.distribution(replay=True)
    assert slots.shape == (4,)
    assert slots[2:].tolist() == [0, 0]
    assert abs(slots.sum() - 1) < 1e-12


@given(seed=seeds)
@settings(quick, max_examples=15)
def test_a_buffer_never_exceeds_its_size_and_replays_only_what_it_holds(seed):
    rng = np.random.default_rng(seed)
    curriculum = buffered(5, replay_prob=0.6, alpha=0.7, strategy="uniform")
    open_tasks: list[int] = []
    for _ in range(15):
        held = set(curriculum.buffered_tasks().tolist())
        drawn = curriculum.draw(int(rng.integers(0, 6)))
        fresh = [task for task in drawn.tasks.tolist() if task not in held]
        assert len(set(fresh)) == len(fresh)
        open_tasks += drawn.tasks.tolist()
        rng.shuffle(open_tasks)
        count = int(rng.integers(0, len(open_tasks) + 1))
        reported, open_tasks = open_tasks[:count], open_tasks[count:]
        curriculum.custom_update(tasks=np.array(reported, dtype=np.int64), scores=np.round(rng.random(count), 1))
        held = curriculum.buffered_tasks().tolist()
        assert len(set(held)) == len(held) <= 5
        assert np.isfinite(curriculum.scores()).sum() == len(held)


# State


@pytest.mark.parametrize("other", [{"num_tasks": 7}, {"strategy": "grounded_signed_value_loss"}])
def test_the_state_of_another_size_or_strategy_is_refused_and_changes_nothing(other):
    curriculum = seen(**{"num_tasks": 6, **other})
    before = bits(curriculum.state_dict())
    with pytest.raises(ValueError, match="expected the state of"):
        curriculum.load_state_dict(seen().state_dict())
    assert bits(curriculum.state_dict()) == before


def test_vectors_of_ids_are_tasks_too():
    space = MultiDiscreteTaskSpace([["a", "b"], 3], "tuple")
    curriculum = create("prioritized_level_replay", space, {}, seed=0)
    curriculum.custom_update(tasks=[[1, 2], [0, 1]], scores=[0.5, 0.25])
    assert curriculum.scores()[space.to_index(np.array([[1, 2], [0, 1]]))].tolist() == [0.5, 0.25]
    with pytest.raises(ValueError, match="tasks"):
        curriculum.custom_update(tasks=[[2, 2]], scores=[0.5])


@given(
    st.integers(0, 2**32),
    st.sampled_from([0.0, 0.1, 0.9]),
    st.sampled_from([0.1, 1.0, 1e9]),
    st.sampled_from(["rank", "match_rank"]),
)
@settings(max_examples=12, deadline=None)
def test_who_leaves_a_full_buffer_is_found_without_looking_at_all_of_it(seed, staleness_coef, temperature, transform):
    size, rng = 2048, np.random.default_rng(seed)
    params = {"staleness_coef": staleness_coef, "temperature": temperature, "score_transform": transform}
    space = DiscreteTaskSpace(100_000)
    params["replay_prob"] = 0.3
    curriculum = create("prioritized_level_replay", space, {"buffer_size": size, **params}, seed=seed % 1000)
    while len(curriculum.buffered_tasks()) < size:
        tasks = curriculum.sample(1024)
        curriculum.custom_update(tasks=tasks, scores=rng.uniform(0.1, 0.9, len(tasks)).round(2))
    for _ in range(8):
        curriculum.sample(64)
    slots = curriculum._slots
    found = slots._least_probable(20)
    probabilities = curriculum.distribution(replay=True)
    np.testing.assert_allclose(probabilities[found], np.sort(probabilities)[:20], rtol=1e-9)
    assert len(set(found.tolist())) == 20


def test_with_the_default_transforms_few_slots_are_looked_at():
    size, rng = 32_768, np.random.default_rng(1)
    curriculum = create("prioritized_level_replay", DiscreteTaskSpace(100_000), {"buffer_size": size}, seed=1)
    while len(curriculum.buffered_tasks()) < size:
        tasks = curriculum.sample(1024)
        curriculum.custom_update(tasks=tasks, scores=rng.uniform(0.1, 0.9, len(tasks)))
    assert len(curriculum._slots._bounded_candidates(128)) <= size // 16
