"""Conformance cases of the curricula that learn from success rates."""

from __future__ import annotations

import numpy as np

from syllabus_client.task_spaces import DiscreteTaskSpace, MultiDiscreteTaskSpace, StratifiedDiscreteTaskSpace

from .case import Call, Case

SIX = DiscreteTaskSpace(6)
VECTORS = MultiDiscreteTaskSpace([["a", "b"], 3], "tuple")
STRATA = StratifiedDiscreteTaskSpace([["a", "b"], ["c"], ["d", "e", "f"]])
BORING = {"0": {"1": False, "2": False}, "1": {"3": False, "0": True}, "4": {"5": False}}


def _rates(n, rng):
    rates = rng.random(n)
    extreme = rng.random(n) < 0.3
    rates[extreme] = np.round(rates[extreme])
    return rates


def evaluation(curriculum, rng):
    return Call("custom_update", kwargs={"success_rates": _rates(curriculum.num_tasks, rng)})


def partial_evaluation(curriculum, rng):
    chosen = rng.permutation(curriculum.num_tasks)[: rng.integers(0, curriculum.num_tasks)]
    tasks = curriculum.task_space.from_index(chosen)
    return Call("custom_update", kwargs={"success_rates": _rates(len(chosen), rng), "tasks": tasks})


def refresh(curriculum, rng):
    return Call("custom_update", kwargs={"refresh": True})


def case(id, curriculum, task_space=SIX, **params):
    return Case(id, curriculum, task_space, params, commands=(evaluation, partial_evaluation, refresh))


CASES = [
    case("learning_progress", "learning_progress"),
    case("learning_progress-raw-vectors", "learning_progress", VECTORS, normalize_success=False, update_interval=5),
    case("learning_progress-old", "learning_progress", max_age=7, update_interval_steps=40),
    case("online", "online_learning_progress"),
    case("online-every-episode", "online_learning_progress", update_interval=1, uniform_prob=0.0),
    case("online-steps-vectors", "online_learning_progress", VECTORS, update_interval_steps=30, success_threshold=0.5),
    case("online-save-last-old", "online_learning_progress", update_interval=3, save_last=True, max_age=5),
    case("learnability", "learnability", topk=2, learnable_prob=0.7),
    case("learnability-dist", "learnability", VECTORS, sampling="dist", update_interval=4),
    case("stratified", "stratified_domain_randomization", STRATA),
    case("stratified-progress", "stratified_learning_progress", STRATA, selection_metric="score"),
    case("stratified-online", "stratified_online_learning_progress", STRATA, update_interval=4),
    case("stratified-learnability", "stratified_learnability", STRATA, topk=3, selection_metric="learnability"),
    case("omni", "omni", interestingness=BORING),
    case("omni-vectors", "omni", VECTORS, update_interval=3, interestingness={'["a", 0]': {'["b", 1]': False}}),
    case("omni-learnability", "omni_learnability", interestingness=BORING, topk=3, learnable_prob=0.5),
]
