"""Stratified curricula: the best task of each stratum, ties, and strata of unequal size."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from syllabus_client.task_spaces import DiscreteTaskSpace, StratifiedDiscreteTaskSpace
from syllabus_service.curricula import InvalidParamsError, create

quick = settings(max_examples=60, deadline=None, derandomize=True)

STRATA = StratifiedDiscreteTaskSpace(6, [[0, 3], [1, 2, 4, 5]])
FAMILY = {
    "stratified_learning_progress": "learning_progress",
    "stratified_online_learning_progress": "online_learning_progress",
    "stratified_learnability": "learnability",
}


@pytest.mark.parametrize("name", FAMILY)
def test_before_the_first_success_rate_all_tasks_are_equally_good(name: str) -> None:
    assert create(name, STRATA, seed=0).distribution() == pytest.approx(np.full(6, 1 / 6), abs=1e-15)


@quick
@given(
    name=st.sampled_from(list(FAMILY)),
    metric=st.sampled_from(["success", "learnability", "score"]),
    evaluations=st.lists(st.lists(st.sampled_from([0.0, 0.2, 0.5, 0.9, 1.0]), min_size=6, max_size=6), max_size=4),
)
def test_the_best_of_a_stratum_keep_their_weight_and_the_others_a_thousandth(
    name: str, metric: str, evaluations: list[list[float]]
) -> None:
    plain = create(FAMILY[name], STRATA, seed=0)
    stratified = create(name, STRATA, {"selection_metric": metric}, seed=0)
    rates = np.zeros(6)
    for evaluation in evaluations:
        plain.custom_update(success_rates=evaluation)
        stratified.custom_update(success_rates=evaluation)
        rates = np.array(evaluation)
    d = plain.distribution()
    value = {"success": rates, "learnability": rates * (1 - rates), "score": d}[metric]
    weights = d.copy()
    for i in range(6):
        rivals = STRATA.stratum == STRATA.stratum[i]
        if value[i] < value[rivals].max() * (1 - 1e-12):
            weights[i] *= 0.001
    assert stratified.distribution() == pytest.approx(weights / weights.sum(), abs=1e-12)


def test_domain_randomization_takes_a_uniform_stratum_and_then_a_uniform_task_within() -> None:
    curriculum = create("stratified_domain_randomization", STRATA, seed=0)
    assert curriculum.distribution().tolist() == [0.25, 0.125, 0.125, 0.25, 0.125, 0.125]


def test_domain_randomization_moves_to_the_best_task_and_keeps_strata_equally_likely() -> None:
    curriculum = create("stratified_domain_randomization", STRATA, seed=0)
    curriculum.custom_update(success_rates=[0.1, 0.9, 0.2, 0.8, 0.0, 0.9])
    distribution = curriculum.distribution()
    assert np.bincount(STRATA.stratum, weights=distribution) == pytest.approx([0.5, 0.5])
    assert distribution[3] == pytest.approx(0.5 / 1.001)
    assert distribution[1] == distribution[5] == pytest.approx(0.5 / 2.002)


@pytest.mark.parametrize("name", [*FAMILY, "stratified_domain_randomization"])
def test_a_space_without_strata_is_refused(name: str) -> None:
    with pytest.raises(InvalidParamsError, match="task_space: expected a StratifiedDiscreteTaskSpace"):
        create(name, DiscreteTaskSpace(3))


@pytest.mark.parametrize("name", [*FAMILY, "stratified_domain_randomization"])
def test_an_unknown_metric_is_refused_by_name(name: str) -> None:
    with pytest.raises(InvalidParamsError, match="selection_metric"):
        create(name, STRATA, {"selection_metric": "best"})
