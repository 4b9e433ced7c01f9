"""The conformance suite finds what it is there for: each curriculum here breaks one promise, and one test says so."""

from __future__ import annotations

import numpy as np
import pytest

from syllabus_client.task_spaces import DiscreteTaskSpace
from syllabus_service.curricula import Curriculum, Draw

from . import test_conformance as suite
from .case import Case

SPACE = DiscreteTaskSpace(6)


class Honest(Curriculum):
    """Draws a task the likelier, the more episodes it had."""

    state_fields: tuple[str, ...] | None = ("counts",)

    def __init__(self, task_space, *, seed=None, random_start_tasks=0):
        super().__init__(task_space, seed=seed, random_start_tasks=random_start_tasks)
        self.counts = np.ones(self.num_tasks)

    def _draw(self, k):
        probabilities = self._distribution()
        tasks = self.rng.choice(self.num_tasks, size=k, p=probabilities)
        return Draw(tasks, probabilities[tasks])

    def _distribution(self):
        return self.counts / self.counts.sum()

    def update_on_episode(self, episode_return, length, task, progress, env_id=None):
        super().update_on_episode(episode_return, length, task, progress, env_id)
        self.counts[task] += 1


class DrawsOtherwise(Honest):
    def _draw(self, k):
        return self.rng.integers(0, self.num_tasks, size=k)


class WrongProbability(Honest):
    def _draw(self, k):
        drawn = super()._draw(k)
        return Draw(drawn.tasks, drawn.probabilities / 2)


class SameTaskInABatch(Honest):
    def _draw(self, k):
        drawn = super()._draw(1)
        return Draw(np.repeat(drawn.tasks, k), np.repeat(drawn.probabilities, k))


class DoesNotSumTo1(Honest):
    def _distribution(self):
        return self.counts / (self.counts.sum() + 1e-6)


class ForgetsItsCounts(Honest):
    state_fields = ()


class LiveState(Honest):
    def state_dict(self):
        return {**super().state_dict(), "fields": {"counts": self.counts}}


class GlobalRandom(Honest):
    def _draw(self, k):
        return np.random.choice(self.num_tasks, size=k, p=self._distribution())  # noqa: NPY002


class CountsColumnsTwice(Honest):
    def update_on_episodes(self, batch):
        super().update_on_episodes(batch)
        if len(batch) > 1:
            self.counts[batch.tasks[0]] += 1


class WarmUpEndsOnDraws(Honest):
    def on_sampled(self, tasks):
        self.num_episodes += len(tasks)


class WarmUpDrawsOne(Honest):
    def _draw_uniform(self, k):
        return super()._draw_uniform(1)


class TakesAnything(Honest):
    def custom_update(self, **metrics):
        self.counts += 1


class HandsOutItsTasks(Honest):
    state_fields = ("counts", "last")
    last = np.zeros(4, dtype=np.int64)

    def _draw(self, k):
        self.last = super()._draw(k).tasks
        return self.last


@pytest.mark.parametrize(
    ("broken", "promise"),
    [
        (
            DrawsOtherwise,
            lambda case: suite.test_single_draws_follow_the_distribution_and_know_their_probability(case, 2),
        ),
        (
            WrongProbability,
            lambda case: suite.test_single_draws_follow_the_distribution_and_know_their_probability(case, 2),
        ),
        (SameTaskInABatch, lambda case: suite.test_a_draw_of_three_is_distributed_as_three_single_draws(case, 4)),
        (DoesNotSumTo1, suite.test_a_new_curriculum_has_a_distribution_that_sums_to_1),
        (DoesNotSumTo1, suite.test_after_any_valid_commands_the_distribution_is_finite_and_sums_to_1),
        (ForgetsItsCounts, suite.test_a_saved_and_loaded_curriculum_goes_on_bit_for_bit),
        (LiveState, suite.test_a_state_is_a_copy),
        (GlobalRandom, suite.test_no_global_random_generator_is_touched),
        (CountsColumnsTwice, suite.test_columns_of_episodes_teach_what_the_episodes_teach_one_by_one),
        (WarmUpEndsOnDraws, suite.test_the_warm_up_draws_k_uniform_tasks_and_ends_on_episodes),
        (WarmUpDrawsOne, suite.test_the_warm_up_draws_k_uniform_tasks_and_ends_on_episodes),
        (TakesAnything, suite.test_a_custom_update_that_it_does_not_know_is_refused_and_changes_nothing),
        (HandsOutItsTasks, suite.test_drawn_tasks_are_copies),
    ],
)
def test_a_broken_promise_is_found(broken, promise):
    with pytest.raises((AssertionError, pytest.fail.Exception, ValueError)):
        promise(case=Case(broken.__name__, f"{__name__}:{broken.__name__}", SPACE))
    promise(case=Case("honest", f"{__name__}:Honest", SPACE))
