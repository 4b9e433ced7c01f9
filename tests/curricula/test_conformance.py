"""What every curriculum promises. A new one is listed in a ``cases_*`` module, and all of this applies to it."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from syllabus_service.curricula import Draw, EpisodeBatch, InvalidParamsError, create, names
from syllabus_service.state_codec import decode_state, encode_state

from . import chi_square
from .case import Case
from .cases import CURRICULA
from .streams import bits, break_last, random_batch, reseeded, run, scribble

seeds = st.integers(0, 2**32 - 1)
quick = settings(
    max_examples=8,
    deadline=None,
    derandomize=True,
    report_multiple_bugs=False,
    phases=(Phase.explicit, Phase.generate, Phase.shrink),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def each(*needs: str):
    """Parametrise by the cases whose flags ``needs`` are set."""
    chosen = [case for case in CURRICULA if all(getattr(case, need) for need in needs)]
    return pytest.mark.parametrize("case", chosen, ids=[case.id for case in chosen])


def index_of(case: Case, draw: Draw) -> np.ndarray:
    return case.task_space.to_index(draw.tasks)


def assert_distribution(distribution: np.ndarray, num_tasks: int | None) -> None:
    assert distribution.dtype == np.float64
    assert distribution.shape == (num_tasks,)
    assert np.isfinite(distribution).all()
    assert distribution.min() >= 0.0
    assert abs(distribution.sum() - 1.0) <= 1e-9


def test_every_built_in_curriculum_has_a_case():
    assert {case.curriculum for case in CURRICULA} >= set(names())


# Distributions and draws


@each("has_distribution")
def test_a_new_curriculum_has_a_distribution_that_sums_to_1(case):
    assert_distribution(case.new().distribution(), case.task_space.num_tasks)


@each("has_distribution")
@given(seed=seeds)
@quick
def test_after_any_valid_commands_the_distribution_is_finite_and_sums_to_1(case, seed):
    curriculum = case.new(seed % 7)
    for count in (1, 3, 12, 40):
        run(case, curriculum, seed + count, count)
        assert_distribution(curriculum.distribution(), case.task_space.num_tasks)


@each()
@given(seed=seeds)
@quick
def test_draws_are_encoded_tasks_of_the_space_with_their_probabilities(case, seed):
    curriculum = case.new(seed % 7)
    run(case, curriculum, seed, 15)
    for k in (0, 1, 5):
        draw = curriculum.draw(k)
        assert len(draw) == k or (case.short and len(draw) < k)
        assert draw.tasks.dtype == case.task_space.encoded_dtype
        assert draw.tasks.shape == (len(draw), *case.task_space.encoded_shape)
        assert case.task_space.contains_encoded(draw.tasks).all()
        if draw.probabilities is not None:
            assert draw.probabilities.dtype == np.float64
            assert draw.probabilities.shape == (len(draw),)
            assert (draw.probabilities > 0).all()
            assert (draw.probabilities <= 1 + 1e-9).all()
        if draw.purposes is not None:
            assert draw.purposes.dtype == np.uint8
            assert set(draw.purposes.tolist()) <= {1, 2}


@each("has_distribution")
@pytest.mark.parametrize("stream", [2])
def test_single_draws_follow_the_distribution_and_know_their_probability(case, stream):
    curriculum = case.new()
    run(case, curriculum, stream, 12 * stream)
    distribution = curriculum.distribution()
    state = curriculum.state_dict()
    counts = np.zeros(len(distribution))
    for trial in range(400):
        curriculum.load_state_dict(reseeded(state, trial))
        draw = curriculum.draw(1)
        index = int(index_of(case, draw)[0])
        counts[index] += 1
        if draw.probabilities is not None:
            assert draw.probabilities[0] == pytest.approx(distribution[index], abs=1e-9)
    chi_square.assert_follows(counts, distribution)


@each("has_distribution")
@pytest.mark.parametrize("stream", [4])
def test_a_draw_of_three_is_distributed_as_three_single_draws(case, stream):
    curriculum = case.new()
    run(case, curriculum, stream, 25)
    state = curriculum.state_dict()
    count = case.task_space.num_tasks
    together, apart = np.zeros((2, 2, count, count))
    for trial in range(250):
        for counts, parts, offset in ((together, (3,), 0), (apart, (1, 1, 1), 10**6)):
            curriculum.load_state_dict(reseeded(state, trial + offset))
            drawn = np.concatenate([index_of(case, curriculum.draw(part)) for part in parts])
            counts[0, drawn[0], drawn[2]] += 1
            counts[1, drawn[1], drawn[2]] += 1
    for i in range(2):
        chi_square.assert_same(together[i].ravel(), apart[i].ravel())


# Warm-up


@each("warms_up")
def test_the_warm_up_draws_k_uniform_tasks_and_ends_on_episodes(case):  # known failures, line 12
    curriculum = case.new(random_start_tasks=20)
    rng = np.random.default_rng(0)
    for _ in range(30):  # draws alone end nothing
        assert len(curriculum.sample(8)) == 8
    if case.task_space.num_tasks is not None:
        index = case.task_space.to_index(curriculum.sample(6000))
        chi_square.assert_follows(
            np.bincount(index, minlength=case.task_space.num_tasks),
            np.full(case.task_space.num_tasks, 1 / case.task_space.num_tasks),
        )
        assert curriculum.distribution().tolist() == [1 / case.task_space.num_tasks] * case.task_space.num_tasks
    else:
        assert case.task_space.contains_encoded(curriculum.sample(100)).all()
    curriculum.update_on_episodes(random_batch(case, curriculum, 15, rng))
    assert curriculum.num_episodes == 15
    assert curriculum.num_episodes < curriculum.random_start_tasks
    for row in range(5):
        batch = random_batch(case, curriculum, 1, rng)
        assert curriculum.num_episodes == 15 + row
        curriculum.update_on_episodes(batch)
    assert curriculum.num_episodes == 20
    assert curriculum.num_episodes >= curriculum.random_start_tasks


# Determinism


@each()
@given(seed=seeds, before=st.integers(0, 25), after=st.integers(1, 25))
@quick
def test_a_saved_and_loaded_curriculum_goes_on_bit_for_bit(case, seed, before, after):
    whole = case.new(3)
    run(case, whole, seed, before)
    state = decode_state(encode_state(whole.state_dict()))
    other = case.new(4)
    run(case, other, seed + 1, 5)
    other.load_state_dict(state)
    assert bits(other.state_dict()) == bits(whole.state_dict())
    again = case.new(3)
    rng = np.random.default_rng(seed)
    again.load_state_dict(state)
    for call in run(case, whole, int(rng.integers(2**31)), after):
        assert bits(call.on(again)) == bits(call.on(other))
    assert bits(again.state_dict()) == bits(other.state_dict()) == bits(whole.state_dict())
    assert bits(again.draw(5)) == bits(other.draw(5)) == bits(whole.draw(5))


@each()
def test_the_same_seed_and_commands_give_the_same_tasks(case):
    one, two = case.new(11), case.new(11)
    for call in run(case, one, 5, 40):
        call.on(two)
    assert bits(one.state_dict()) == bits(two.state_dict())
    assert bits(one.draw(7)) == bits(two.draw(7))


@each()
def test_a_state_is_a_copy(case):
    curriculum = case.new()
    run(case, curriculum, 1, 30)
    state = curriculum.state_dict()
    before = bits(state)
    run(case, curriculum, 2, 30)
    curriculum.draw(3)
    assert bits(state) == before, "the state changed with the curriculum"
    now = bits(curriculum.state_dict())
    scribble(curriculum.state_dict())
    assert bits(curriculum.state_dict()) == now, "the curriculum changed with the state"
    other = case.new()
    other.load_state_dict(state)
    run(case, other, 3, 30)
    assert bits(state) == before, "the loaded state is in use"


@each()
def test_drawn_tasks_are_copies(case):
    one, two = case.new(2), case.new(2)
    run(case, one, 6, 20)
    run(case, two, 6, 20)
    for k in (1, 4):
        assert bits(one.draw(k)) == bits(two.draw(k))
        drawn = one.draw(k)
        two.draw(k)
        if drawn.tasks.flags.writeable:
            drawn.tasks[...] = 0
        if case.has_distribution:
            one.distribution()[...] = 0
        assert bits(one.state_dict()) == bits(two.state_dict())
    assert bits(one.draw(5)) == bits(two.draw(5))


@each()
def test_no_global_random_generator_is_touched(case):
    before = bits(list(np.random.get_state())), random.getstate()  # noqa: NPY002
    curriculum = case.new()
    run(case, curriculum, 8, 40)
    curriculum.draw(3)
    assert (bits(list(np.random.get_state())), random.getstate()) == before  # noqa: NPY002


# Learning


@each()
@given(seed=seeds, n=st.integers(1, 30))
@quick
def test_columns_of_episodes_teach_what_the_episodes_teach_one_by_one(case, seed, n):
    together, apart = case.new(5), case.new(5)
    for call in run(case, together, seed, 8):
        call.on(apart)
    batch = random_batch(case, together, n, np.random.default_rng(seed))
    together.update_on_episodes(batch)
    for row in range(n):
        apart.update_on_episodes(batch.select(slice(row, row + 1)))
    assert together.num_episodes == apart.num_episodes
    if case.has_distribution:
        np.testing.assert_allclose(together.distribution(), apart.distribution(), rtol=1e-9, atol=1e-12)
    assert bits(together.draw(6).tasks) == bits(apart.draw(6).tasks)


@each()
def test_one_episode_at_a_time_counts_as_a_row_does(case):
    if case.episode_metrics is not None:
        pytest.skip("its episodes carry metrics, which only columns do")
    columns, single = case.new(5), case.new(5)
    batch = random_batch(case, columns, 20, np.random.default_rng(1))
    columns.update_on_episodes(batch)
    for row in range(20):
        single.update_on_episode(
            float(batch.episode_returns[row]),
            int(batch.lengths[row]),
            batch.tasks[row],
            float(batch.progress[row]),
            int(batch.env_ids[row]),
        )
    assert columns.num_episodes == single.num_episodes == 20
    assert bits(columns.draw(6).tasks) == bits(single.draw(6).tasks)


@each()
def test_no_episode_teaches_nothing(case):
    curriculum = case.new()
    run(case, curriculum, 9, 10)
    before = bits(curriculum.state_dict())
    curriculum.update_on_episodes(random_batch(case, curriculum, 0, np.random.default_rng(0)))
    curriculum.on_abandoned(case.episode_tasks(curriculum, 0, np.random.default_rng(0)))
    assert bits(curriculum.state_dict()) == before


# Refusals


@each()
def test_a_custom_update_that_it_does_not_know_is_refused_and_changes_nothing(case):
    curriculum = case.new()
    run(case, curriculum, 4, 10)
    before = bits(curriculum.state_dict())
    with pytest.raises((ValueError, TypeError), match="no_such_argument"):
        curriculum.custom_update(no_such_argument=np.ones(3))
    assert bits(curriculum.state_dict()) == before


@each()
def test_an_unknown_parameter_is_refused_by_name(case):
    with pytest.raises(InvalidParamsError, match="no_such_parameter"):
        case.new(no_such_parameter=1)


@each("warms_up")
def test_a_negative_warm_up_is_refused_by_name(case):
    with pytest.raises(InvalidParamsError, match="random_start_tasks"):
        case.new(random_start_tasks=-1)


@each()
def test_the_state_of_another_algorithm_is_refused(case):
    curriculum = case.new()
    state = curriculum.state_dict()
    state["fields"] = {**state["fields"], "no_such_field": 1}
    with pytest.raises(ValueError, match="no_such_field"):
        curriculum.load_state_dict(state)


@each()
def test_a_state_that_cannot_be_loaded_to_its_end_changes_nothing(case):
    curriculum, other = case.new(3), case.new(4)
    run(case, curriculum, 10, 25)
    run(case, other, 11, 25)
    before = bits(curriculum.state_dict())
    state = other.state_dict()
    break_last(state)
    with pytest.raises(ValueError, match="broken"):
        curriculum.load_state_dict(state)
    assert bits(curriculum.state_dict()) == before
    untouched = case.new(3)
    run(case, untouched, 10, 25)
    assert bits(curriculum.draw(6)) == bits(untouched.draw(6))


def test_an_episode_batch_can_be_cut():
    batch = EpisodeBatch(*(np.arange(4.0) for _ in range(5)), metrics={"score": np.arange(4.0)})
    assert len(batch.select(slice(1, 3))) == 2
    assert batch.select(np.array([3])).metrics["score"].tolist() == [3.0]


def test_an_unknown_curriculum_is_refused_by_name():
    with pytest.raises(ValueError, match="no_such_curriculum"):
        create("no_such_curriculum", CURRICULA[0].task_space)
