"""Curricula that follow the learner reach a mastery sooner than domain randomization does."""

from __future__ import annotations

import pytest

from benchmarks import simulated_learner

EPISODES = 12_800


@pytest.fixture(scope="module")
def goal() -> float:
    return simulated_learner.train(simulated_learner.BASELINE, 3, EPISODES).mastery[-1]


@pytest.mark.parametrize("arm", simulated_learner.ARMS, ids=lambda arm: arm.name)
def test_a_simulated_learner_masters_tasks_with_prerequisites_in_fewer_training_episodes(
    arm: simulated_learner.Arm, goal: float
) -> None:
    run = simulated_learner.train(arm, 3, EPISODES, goal)
    assert run.mastery[-1] >= goal
    assert run.training[-1] < 0.9 * EPISODES
