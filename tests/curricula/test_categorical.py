"""The shared sampler draws exactly its distribution."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from syllabus_service.curricula import categorical
from syllabus_service.curricula.categorical import Categorical

WEIGHTS = hnp.arrays(
    np.float64,
    st.integers(1, 40),
    elements=st.one_of(st.just(0.0), st.floats(5e-324, 1e300)),
).filter(lambda weights: weights.any())

quick = settings(deadline=None, derandomize=True)


class OneValue:
    """A generator that answers with one chosen double: to try the ends of [0, 1)."""

    def __init__(self, value: float) -> None:
        self.value = value

    def random(self, k: int) -> np.ndarray:
        return np.full(k, self.value)


@quick
@given(WEIGHTS)
def test_probabilities_are_proportional_to_the_weights_and_sum_to_1(weights: np.ndarray) -> None:
    probabilities = Categorical(weights).probabilities
    assert probabilities.sum() == pytest.approx(1.0, abs=1e-12)
    assert probabilities == pytest.approx(weights / weights.sum(), abs=1e-12)


@quick
@given(WEIGHTS, st.sampled_from([0.0, 2.0**-53, 0.5, 1 - 2.0**-53]), st.integers(1, 3))
def test_a_weight_of_0_is_never_drawn_even_at_the_ends_of_the_unit_interval(
    weights: np.ndarray, u: float, k: int
) -> None:
    index, probability = Categorical(weights).draw(k, OneValue(u))
    assert (weights[index] > 0).all()
    assert (probability == Categorical(weights).probabilities[index]).all()


@quick
@given(WEIGHTS, st.integers(0, 2**32), st.integers(1, 50))
def test_one_draw_of_k_is_k_draws_of_one(weights: np.ndarray, seed: int, k: int) -> None:
    at_once = Categorical(weights).draw(k, np.random.default_rng(seed))
    rng = np.random.default_rng(seed)
    singly = [Categorical(weights).draw(1, rng) for _ in range(k)]
    assert at_once[0].tolist() == [int(index[0]) for index, _ in singly]
    assert at_once[1].tolist() == [float(probability[0]) for _, probability in singly]


@quick
@given(WEIGHTS, st.integers(0, 2**32), st.sampled_from([0, 1, 50]))
def test_cumulative_weights_that_are_added_up_anew_draw_what_kept_ones_do(
    weights: np.ndarray, seed: int, k: int
) -> None:
    kept = Categorical(weights)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(categorical, "_LARGE", 1)
        patch.setattr(categorical, "_PASS", 32)
        anew = Categorical(weights)
        assert anew.total == kept.total
        for u in (0.0, 0.5, 1 - 2.0**-53):
            assert anew.draw(3, OneValue(u))[0].tolist() == kept.draw(3, OneValue(u))[0].tolist()
        drawn = anew.draw(k, np.random.default_rng(seed))
    for mine, others in zip(drawn, kept.draw(k, np.random.default_rng(seed)), strict=True):
        assert mine.tolist() == others.tolist()


def test_draws_follow_the_probabilities() -> None:
    weights = np.array([1.0, 0.0, 5.0, 2.0, 0.5])
    distribution = Categorical(weights)
    n = 200_000
    counts = np.bincount(distribution.draw(n, np.random.default_rng(7))[0], minlength=5)
    expected = distribution.probabilities * n
    possible = expected > 0
    chi_square = ((counts - expected)[possible] ** 2 / expected[possible]).sum()
    assert counts[1] == 0
    assert chi_square < 16.27  # 3 degrees of freedom, p = 0.001


def test_asking_for_nothing_gives_nothing() -> None:
    index, probability = Categorical(np.ones(3)).draw(0, np.random.default_rng(0))
    assert index.dtype == np.int64
    assert len(index) == len(probability) == 0


@pytest.mark.parametrize(
    "weights",
    [[], [[1.0]], [0.0, 0.0], [1.0, -1e-9], [1.0, np.nan], [np.inf, 1.0], [1e308, 1e308]],
)
def test_weights_that_are_no_distribution_are_refused_by_name(weights: list[float]) -> None:
    with np.errstate(over="ignore"), pytest.raises(ValueError, match="weights"):
        Categorical(weights)


@pytest.mark.parametrize("size", [1 << 18, (1 << 18) + 1, (1 << 18) + 63])
def test_many_draws_from_many_tasks_are_those_of_single_draws(size):
    weights = np.random.default_rng(1).random(size)
    weights[::3] = 0.0
    weights[-70:] = 0.0
    weights[:100] = 0.0
    categorical = Categorical(weights)
    many = categorical.draw(4096, np.random.default_rng(2))[0]
    one_by_one = np.random.default_rng(2)
    assert many.tolist() == [categorical.draw(1, one_by_one)[0][0] for _ in range(4096)]
