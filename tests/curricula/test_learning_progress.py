"""Learning progress, from evaluations and from episodes: known failures 13, 15 and 16, and what it refuses."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from syllabus_client.task_spaces import BoxTaskSpace, DiscreteTaskSpace, MultiDiscreteTaskSpace
from syllabus_service.curricula import EpisodeBatch, InvalidParamsError, create
from syllabus_service.curricula.learning_progress import LearningProgress
from syllabus_service.curricula.online_learning_progress import OnlineLearningProgress

quick = settings(max_examples=60, deadline=None, derandomize=True)


def episodes(tasks: Any, progress: Any, lengths: Any = 1, env_ids: Any = 0) -> EpisodeBatch:
    tasks = np.asarray(tasks)
    n = len(tasks)
    return EpisodeBatch(
        tasks=tasks,
        episode_returns=np.zeros(n),
        lengths=np.broadcast_to(np.asarray(lengths, dtype=np.int64), n),
        progress=np.broadcast_to(np.asarray(progress, dtype=np.float64), n),
        env_ids=np.broadcast_to(np.asarray(env_ids, dtype=np.int64), n),
    )


def states_equal(a: Any, b: Any) -> bool:
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(states_equal(a[key], b[key]) for key in a)
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
    return bool(a == b)


# Known failures


@pytest.mark.parametrize("encoding", ["flat", "tuple"])
def test_known_failure_13_online_learning_progress_works_on_a_product_of_sets(encoding: str) -> None:
    space = MultiDiscreteTaskSpace([["red", "blue"], 3], encoding=encoding)
    curriculum = create("online_learning_progress", space, {"update_interval": 6}, seed=0)
    every = space.from_index(np.arange(6))
    curriculum.update_on_episodes(episodes(every, 0.0))
    curriculum.update_on_episodes(episodes(every, [0, 0, 0, 0, 1, 0]))
    drawn = curriculum.draw(64)
    assert space.contains_encoded(drawn.tasks).all()
    assert np.argmax(curriculum.distribution()) == 4
    assert drawn.probabilities is not None
    assert (drawn.probabilities == curriculum.distribution()[space.to_index(drawn.tasks)]).all()


def test_known_failure_15_sampling_never_evaluates_and_all_can_be_read_before_the_first_evaluation() -> None:
    curriculum = LearningProgress(DiscreteTaskSpace(4), seed=0)
    assert len(curriculum.sample(100)) == 100
    assert curriculum.distribution().tolist() == [0.25] * 4
    assert curriculum.learning_progress().tolist() == [0.0] * 4
    assert curriculum.rates().tolist() == [0.0] * 4


def test_known_failure_16_200_successful_episodes_move_the_rates() -> None:
    curriculum = create("online_learning_progress", DiscreteTaskSpace(10), seed=0)
    for _ in range(3):
        curriculum.update_on_episodes(episodes(np.arange(10), 0.0))
    for _ in range(200):
        curriculum.update_on_episode(1.0, 10, 3, 1.0)
    assert isinstance(curriculum, OnlineLearningProgress)
    assert curriculum.rates()[3] == 1.0
    assert np.argmax(curriculum.distribution()) == 3


@pytest.mark.parametrize("name", ["online_learning_progress", "learning_progress"])
def test_known_failure_16_thousands_of_updates_without_a_success_raise_no_underflow(name: str) -> None:
    curriculum = create(name, DiscreteTaskSpace(3), {"update_interval": 2, "ema_alpha": 0.3}, seed=0)
    curriculum.update_on_episodes(episodes([0, 1], 0.0))
    curriculum.update_on_episodes(episodes([0, 1], 1.0))
    with np.errstate(all="raise"):
        for _ in range(2_500):  # 0.7 ** 2,100 is below the least number that is not 0
            curriculum.update_on_episodes(episodes([0, 2], 0.0))
            curriculum.sample(1)
    assert isinstance(curriculum, LearningProgress)
    fast, slow, true_rates = curriculum.averages()
    assert fast[0] == slow[0] == true_rates[0] == 0.0
    assert curriculum.distribution().sum() == pytest.approx(1.0, abs=1e-9)


def test_known_failure_16_save_last_shares_no_memory_with_the_counters() -> None:
    curriculum = OnlineLearningProgress(DiscreteTaskSpace(2), seed=0, update_interval=2, save_last=True)
    curriculum.update_on_episodes(episodes([0, 0], 1.0))
    before = curriculum.state_dict()["fields"]
    fast = [average.copy() for average in curriculum.averages()]
    curriculum.update_on_episode(0.0, 1, 1, 1.0)
    after = curriculum.state_dict()["fields"]
    for name in ("fast", "slow", "true_rates", "success_rates", "baseline"):
        assert np.array_equal(before[name], after[name], equal_nan=True), name
    assert all(np.array_equal(*pair) for pair in zip(fast, curriculum.averages(), strict=True))


# Evaluations


def test_a_partial_evaluation_leaves_the_other_tasks_alone() -> None:
    curriculum = LearningProgress(DiscreteTaskSpace(4), seed=0)
    curriculum.custom_update(success_rates=[0.1, 0.2, 0.3, 0.4])
    before = [average.copy() for average in curriculum.averages()]
    curriculum.custom_update(success_rates=[0.9, 0.8], tasks=[3, 0])
    for old, new in zip(before, curriculum.averages(), strict=True):
        assert old[[1, 2]].tolist() == new[[1, 2]].tolist()
        assert (old[[0, 3]] < new[[0, 3]]).all()


def test_partial_evaluations_of_all_tasks_equal_one_evaluation() -> None:
    whole, parts = (LearningProgress(DiscreteTaskSpace(5), seed=0) for _ in range(2))
    rng = np.random.default_rng(1)
    for _ in range(6):
        rates = rng.random(5)
        whole.custom_update(success_rates=rates)
        parts.custom_update(success_rates=rates[[4, 1]], tasks=[4, 1])
        parts.custom_update(success_rates=rates[[0, 2, 3]], tasks=np.array([0, 2, 3], dtype=np.int32))
    assert whole.distribution().tolist() == parts.distribution().tolist()


def test_a_task_that_was_never_evaluated_is_not_left_out() -> None:
    curriculum = LearningProgress(DiscreteTaskSpace(3), seed=0)
    curriculum.custom_update(success_rates=[0.0, 0.0], tasks=[0, 1])
    assert curriculum.distribution().tolist() == [0.0, 0.0, 1.0]


def test_evaluations_of_float32_are_taken() -> None:
    curriculum = LearningProgress(DiscreteTaskSpace(2), seed=0)
    curriculum.custom_update(success_rates=np.array([0.5, 0.25], dtype=np.float32))
    assert curriculum.rates().tolist() == [0.5, 0.25]


@pytest.mark.parametrize(
    ("update", "named"),
    [
        ({"success_rates": [0.5, 0.5]}, "success_rates"),
        ({"success_rates": [[0.5, 0.5, 0.5]]}, "success_rates"),
        ({"success_rates": [0.5, np.nan, 0.5]}, "success_rates"),
        ({"success_rates": [0.5, 1.1, 0.5]}, "success_rates"),
        ({"success_rates": [0.5, -0.1, 0.5]}, "success_rates"),
        ({"success_rates": ["a", "b", "c"]}, "success_rates"),
        ({"success_rates": [[0.5], [0.5, 0.5]]}, "success_rates"),
        ({"success_rates": [0.5], "tasks": [3]}, "tasks"),
        ({"success_rates": [0.5], "tasks": [-1]}, "tasks"),
        ({"success_rates": [0.5], "tasks": [0.5]}, "tasks"),
        ({"success_rates": [0.5, 0.6], "tasks": [1, 1]}, "tasks"),
        ({"success_rates": [0.5], "tasks": [[1]]}, "tasks"),
        ({"success_rates": [0.5], "tasks": ["one"]}, "tasks"),
        ({"success_rates": [0.5, 0.6], "tasks": [1]}, "success_rates"),
        ({"tasks": [1]}, "success_rates"),
        ({"refresh": 1}, "refresh"),
        ({"refresh": False}, "success_rates"),
        ({}, "success_rates"),
        ({"success_rate": [0.5, 0.5, 0.5]}, "success_rate:"),
    ],
)
@pytest.mark.parametrize("name", ["learning_progress", "online_learning_progress", "learnability"])
def test_a_bad_update_is_refused_by_name_and_changes_nothing(name: str, update: dict[str, Any], named: str) -> None:
    curriculum = create(name, DiscreteTaskSpace(3), seed=0)
    curriculum.custom_update(success_rates=[0.1, 0.2, 0.3])
    before = curriculum.state_dict()
    with pytest.raises(ValueError, match=named):
        curriculum.custom_update(**update)
    assert states_equal(curriculum.state_dict(), before)


@pytest.mark.parametrize(
    "params",
    [
        {"ema_alpha": 0.0},
        {"ema_alpha": 1.5},
        {"p_theta": 0.0},
        {"p_theta": 1},
        {"update_interval": 0},
        {"update_interval": 2.5},
        {"update_interval_steps": 0},
        {"update_interval": 5, "update_interval_steps": 5},
        {"success_threshold": 0.0},
        {"success_threshold": 1.1},
        {"uniform_prob": -0.1},
        {"uniform_prob": float("nan")},
        {"max_age": -1},
        {"max_age": True},
        {"ema_alpha": "fast"},
        {"uniform_prob": None},
        {"normalize_success": "no"},
        {"save_last": 1},
        {"random_start_tasks": -1},
        {"updates": 5},
    ],
)
def test_a_bad_parameter_is_refused_by_name(params: dict[str, Any]) -> None:
    with pytest.raises(InvalidParamsError, match=next(reversed(params))):
        create("online_learning_progress", DiscreteTaskSpace(3), params)


def test_a_space_that_cannot_be_enumerated_is_refused() -> None:
    with pytest.raises(InvalidParamsError, match="enumerable"):
        create("learning_progress", BoxTaskSpace(np.zeros(2), np.ones(2)))


# Episodes


@quick
@given(
    data=st.lists(
        st.tuples(
            st.integers(0, 3),
            st.sampled_from([-1.0, 0.0, 0.5, 1.0]),
            st.integers(0, 9),
            st.integers(0, 2),
            st.booleans(),
        ),
        max_size=60,
    ),
    interval=st.sampled_from(
        [{"update_interval": n} for n in (1, 3, 7)] + [{"update_interval_steps": n} for n in (1, 12)]
    ),
    extra=st.sampled_from([{}, {"save_last": True}, {"success_threshold": 0.5}, {"normalize_success": False}]),
    cuts=st.lists(st.integers(0, 60), max_size=6),
)
def test_columns_equal_one_episode_after_the_other(
    data: list[tuple[int, float, int, int, bool]],
    interval: dict[str, int],
    extra: dict[str, Any],
    cuts: list[int],
) -> None:
    """With the ends of intervals, and successes reported on the way, anywhere within a batch."""
    singly, columns = (OnlineLearningProgress(DiscreteTaskSpace(4), seed=0, **interval, **extra) for _ in range(2))
    for start, end in itertools.pairwise(sorted({0, len(data), *(min(cut, len(data)) for cut in cuts)})):
        part = data[start:end]
        for curriculum in (singly, columns):
            for task, _, _, env_id, on_the_way in part:
                if on_the_way:
                    curriculum.update_task_progress(task, 1.0, env_id)
        for task, progress, length, env_id, _ in part:
            singly.update_on_episode(0.0, length, task, progress, env_id)
        tasks, progress, lengths, env_ids, _ = zip(*part, strict=True)
        columns.update_on_episodes(episodes(tasks, progress, lengths, env_ids))
        assert states_equal(singly.state_dict(), columns.state_dict())
        assert singly.distribution().tolist() == columns.distribution().tolist()


@quick
@given(
    st.lists(st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=1, max_size=8), min_size=1, max_size=30),
    st.booleans(),
    st.sampled_from([0.1, 0.5, 1.0]),
)
def test_updating_only_visited_tasks_equals_the_recurrence_over_all_tasks(
    updates: list[list[tuple[int, bool]]], normalize: bool, alpha: float
) -> None:
    curriculum = OnlineLearningProgress(
        DiscreteTaskSpace(5), seed=0, update_interval=10**6, normalize_success=normalize, ema_alpha=alpha
    )
    plain = LearningProgress(DiscreteTaskSpace(5), seed=0, normalize_success=normalize, ema_alpha=alpha)
    for batch in updates:
        counts = np.zeros((2, 5))
        for task, success in batch:
            curriculum.update_on_episode(0.0, 1, task, float(success))
            counts[:, task] += success, 1
        curriculum.custom_update(refresh=True)
        plain.custom_update(success_rates=counts[0] / np.maximum(counts[1], 1))
    assert curriculum.rates().tolist() == plain.rates().tolist()
    for ours, expected in zip(curriculum.averages(), plain.averages(), strict=True):
        assert ours == pytest.approx(expected, rel=1e-12, abs=1e-15)


def test_with_save_last_an_unvisited_task_keeps_its_rate() -> None:
    curriculum = OnlineLearningProgress(
        DiscreteTaskSpace(2), seed=0, update_interval=2, save_last=True, normalize_success=False
    )
    curriculum.update_on_episodes(episodes([0, 1], [1.0, 0.0]))
    curriculum.update_on_episodes(episodes([1, 1], 0.0))
    assert curriculum.rates().tolist() == [1.0, 0.0]
    curriculum.update_on_episodes(episodes([0, 1], 0.0))
    assert curriculum.rates().tolist() == [0.5, 0.0]


def test_without_it_an_unvisited_task_has_rate_0() -> None:
    curriculum = OnlineLearningProgress(DiscreteTaskSpace(2), seed=0, update_interval=2)
    curriculum.update_on_episodes(episodes([0, 1], 1.0))
    curriculum.update_on_episodes(episodes([1, 1], 1.0))
    assert curriculum.rates().tolist() == [0.0, 1.0]


def test_learning_progress_from_episodes_keeps_the_rate_of_an_unvisited_task() -> None:
    curriculum = LearningProgress(DiscreteTaskSpace(2), seed=0, update_interval=2)
    curriculum.update_on_episodes(episodes([0, 1], 1.0))
    curriculum.update_on_episodes(episodes([1, 1], 0.0))
    assert curriculum.rates().tolist() == [1.0, 0.0]


def test_learning_progress_takes_nothing_from_episodes_unless_asked_to() -> None:
    curriculum = LearningProgress(DiscreteTaskSpace(2), seed=0)
    curriculum.update_on_episodes(episodes([0, 1], 1.0))
    curriculum.update_task_progress(0, 1.0, env_id=3)
    curriculum.custom_update(refresh=True)
    assert curriculum.rates().tolist() == [0.0, 0.0]
    assert curriculum.num_episodes == 2


def test_an_update_comes_with_the_episode_that_passes_the_number_of_steps() -> None:
    curriculum = OnlineLearningProgress(DiscreteTaskSpace(2), seed=0, update_interval_steps=10)
    curriculum.update_on_episodes(episodes([0, 1], 1.0, lengths=[4, 6]))
    assert curriculum.num_updates == 0
    curriculum.update_on_episode(0.0, 1, 0, 1.0)
    assert curriculum.num_updates == 1


def test_a_refresh_without_an_episode_changes_nothing() -> None:
    curriculum = OnlineLearningProgress(DiscreteTaskSpace(2), seed=0, update_interval=2)
    curriculum.update_on_episodes(episodes([0, 1], 1.0))
    before = curriculum.state_dict()
    curriculum.custom_update(refresh=True)
    assert states_equal(curriculum.state_dict(), before)


@pytest.mark.parametrize(("threshold", "rate"), [(1.0, 0.0), (0.8, 1.0), (0.9, 0.0)])
def test_an_episode_succeeds_from_the_threshold_on(threshold: float, rate: float) -> None:
    curriculum = OnlineLearningProgress(DiscreteTaskSpace(2), seed=0, update_interval=1, success_threshold=threshold)
    curriculum.update_on_episode(0.0, 1, 1, 0.8)
    assert curriculum.rates()[1] == rate


class TestSuccessOnTheWay:
    @pytest.fixture
    def curriculum(self) -> OnlineLearningProgress:
        return OnlineLearningProgress(DiscreteTaskSpace(3), seed=0, update_interval=100)

    def counted(self, curriculum: OnlineLearningProgress) -> list[tuple[int, int]]:
        return list(zip(curriculum.batch_successes.tolist(), curriculum.batch_episodes.tolist(), strict=True))

    def test_counts_at_once_and_only_once(self, curriculum: OnlineLearningProgress) -> None:
        for progress in (0.3, 1.0, 1.0, 0.2):
            curriculum.update_task_progress(1, progress, env_id=7)
        assert self.counted(curriculum) == [(0, 0), (1, 1), (0, 0)]
        curriculum.update_on_episode(0.0, 10, 1, 0.2, env_id=7)
        assert self.counted(curriculum) == [(0, 0), (1, 1), (0, 0)]
        assert curriculum.episodes_since_update == 1

    def test_is_not_taken_for_the_next_episode(self, curriculum: OnlineLearningProgress) -> None:
        curriculum.update_task_progress(1, 1.0, env_id=7)
        for _ in range(2):
            curriculum.update_on_episode(0.0, 10, 1, 0.0, env_id=7)
        assert self.counted(curriculum)[1] == (1, 2)

    def test_is_not_taken_for_another_environments(self, curriculum: OnlineLearningProgress) -> None:
        curriculum.update_task_progress(1, 1.0, env_id=7)
        curriculum.update_on_episodes(episodes([1, 1], 0.0, env_ids=[8, 7]))
        assert self.counted(curriculum)[1] == (1, 2)

    def test_of_an_abandoned_episode_is_forgotten_with_the_next_task(self, curriculum: OnlineLearningProgress) -> None:
        curriculum.update_task_progress(1, 1.0, env_id=7)
        curriculum.update_on_episode(0.0, 10, 2, 1.0, env_id=7)
        curriculum.update_on_episode(0.0, 10, 1, 0.0, env_id=7)
        assert self.counted(curriculum)[1:] == [(1, 2), (1, 1)]

    def test_survives_a_restart(self, curriculum: OnlineLearningProgress) -> None:
        curriculum.update_task_progress(1, 1.0, env_id=7)
        other = OnlineLearningProgress(DiscreteTaskSpace(3), seed=1, update_interval=100)
        other.load_state_dict(curriculum.state_dict())
        other.update_on_episode(0.0, 10, 1, 1.0, env_id=7)
        assert self.counted(other)[1] == (1, 1)

    def test_takes_a_bounded_memory(self, curriculum: OnlineLearningProgress) -> None:
        for env_id in range(70_000):
            curriculum.update_task_progress(1, 1.0, env_id=env_id)
        assert len(curriculum.early_successes) == 65_536


# The distribution


@quick
@given(
    st.lists(
        st.lists(st.sampled_from([0.0, 1e-300, 1e-17, 0.3, 0.75, 1 - 2.0**-53, 1.0]), min_size=4, max_size=4),
        max_size=6,
    ),
    st.sampled_from(["learning_progress", "online_learning_progress", "learnability"]),
    st.booleans(),
    st.sampled_from([1e-9, 0.1, 1.0]),
)
def test_every_evaluation_leaves_a_distribution(
    evaluations: list[list[float]], name: str, normalize: bool, alpha: float
) -> None:
    params = {"normalize_success": normalize} | ({} if name == "learnability" else {"ema_alpha": alpha})
    curriculum = create(name, DiscreteTaskSpace(4), params, seed=0)
    with np.errstate(all="raise"):
        for rates in evaluations:
            curriculum.custom_update(success_rates=rates)
            distribution = curriculum.distribution()
            assert np.isfinite(distribution).all()
            assert (distribution >= 0).all()
            assert distribution.sum() == pytest.approx(1.0, abs=1e-9)
            assert (distribution[curriculum.sample(5)] > 0).all()


def test_rounding_noise_is_not_taken_for_progress() -> None:
    curriculum = LearningProgress(DiscreteTaskSpace(40), seed=0, normalize_success=False)
    rng = np.random.default_rng(0)
    curriculum.custom_update(success_rates=rng.random(40))
    for _ in range(1_000):
        curriculum.custom_update(success_rates=np.full(40, 0.7))
    assert curriculum.distribution() == pytest.approx(np.full(40, 1 / 40), rel=1e-9)


def test_the_distribution_is_a_copy() -> None:
    curriculum = LearningProgress(DiscreteTaskSpace(3), seed=0)
    curriculum.distribution()[:] = 7.0
    assert curriculum.distribution().sum() == pytest.approx(1.0)
