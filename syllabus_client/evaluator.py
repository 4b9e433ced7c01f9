"""Evaluator: runs a policy on chosen tasks, outside the curriculum, and tells the curriculum how well it does."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import gymnasium as gym
import numpy as np
from gymnasium.vector.utils import concatenate, create_empty_array, iterate

from syllabus_client.task_spaces import TaskSpace
from syllabus_client.wrappers._new_task import require_new_task

Policy = Callable[[Any], Any]
"""Batched observations (n, ...) to batched actions (n, ...): numpy arrays, or what ``gymnasium.vector`` makes of dict
and tuple spaces. A torch policy converts, and detaches, in here."""


class Learner(Protocol):
    """Something that takes a custom update: a CurriculumClient, or an embedded curriculum's handle."""

    def custom_update(self, **metrics: Any) -> Any: ...


@dataclass(frozen=True)
class Evaluation:
    """How a policy did on n tasks."""

    tasks: np.ndarray
    """(n, *encoded_shape): encoded tasks."""
    success_rates: np.ndarray
    """float64 (n,): shares of successful episodes."""
    return_means: np.ndarray
    """float64 (n,): means of the episodes' returns."""
    length_means: np.ndarray
    """float64 (n,): means of the episodes' lengths, in steps."""


class Evaluator:
    """Runs evaluation episodes over a list of tasks on several environments at once, in this process.

    Each environment takes the next task of the list as soon as its episode has ended, and the policy is asked for all
    running environments at once, so a long episode does not hold up the others. The episodes are no part of the
    curriculum's statistics: only their success rates are pushed, by ``update``.

    An episode succeeds where its last ``info["task_completion"]`` is at least ``success_threshold``. Episode j of a
    task is reset with seed ``seed + j``, whatever environment runs it, so two evaluations of a deterministic policy
    agree.

    Args:
        make_env: makes one environment whose ``reset`` takes ``new_task``; without a sync wrapper.
        policy: see ``Policy``.
        task_space: the curriculum's tasks.
        num_envs: environments stepped together, at least 1.
        episodes_per_task: at least 1.
        max_steps: steps after which an episode ends; None: where the environment ends it.
        success_threshold: in (0, 1].
        seed: of the environments' resets, at least 0.
        copy_policy: whether each evaluation runs a deep copy of the policy as it is at that moment. With False the
            live policy is called, and what calls change in it (a recurrent state, running means) stays changed.

    Example:
        >>> from syllabus_client.task_spaces import DiscreteTaskSpace
        >>> from syllabus_client.wrappers import TaskEnv
        >>> class Guess(TaskEnv):  # task i: say i
        ...     observation_space, action_space = gym.spaces.Discrete(1), gym.spaces.Discrete(4)
        ...     def reset(self, *, seed=None, options=None, new_task=None):
        ...         self.task = new_task
        ...         return 0, {}
        ...     def step(self, action):
        ...         return 0, 1.0, True, False, {"task_completion": float(action == self.task)}
        >>> def always_two(observations):
        ...     return np.full(len(observations), 2)
        >>> evaluator = Evaluator(Guess, always_two, task_space=DiscreteTaskSpace(4), num_envs=3)
        >>> evaluator.evaluate().success_rates
        array([0., 0., 1., 0.])
        >>> evaluator.close()
    """

    def __init__(
        self,
        make_env: Callable[[], gym.Env],
        policy: Policy,
        *,
        task_space: TaskSpace,
        num_envs: int = 8,
        episodes_per_task: int = 1,
        max_steps: int | None = None,
        success_threshold: float = 1.0,
        seed: int = 0,
        copy_policy: bool = False,
    ) -> None:
        for name, value in (("num_envs", num_envs), ("episodes_per_task", episodes_per_task), ("max_steps", max_steps)):
            if value is not None and value < 1:
                raise ValueError(f"{name}: expected at least 1, got {value}")
        if not 0.0 < success_threshold <= 1.0:
            raise ValueError(f"success_threshold: expected more than 0 and at most 1, got {success_threshold}")
        self.policy = policy
        self.task_space = task_space
        self._episodes_per_task = episodes_per_task
        self._max_steps = max_steps
        self._success_threshold = success_threshold
        self._seed = seed
        self._copy_policy = copy_policy
        self._envs = [make_env() for _ in range(num_envs)]
        require_new_task(self._envs[0], type(self).__name__)

    def evaluate(self, tasks: Sequence[Any] | None = None) -> Evaluation:
        """Run ``episodes_per_task`` episodes of each task.

        Args:
            tasks: decoded tasks; None: all tasks of the space, by index.

        Raises TaskNotInSpaceError, or TypeError for None where the space is not enumerable.
        """
        encoded = self._all_tasks() if tasks is None else self.task_space.encode_many(tasks)
        decoded = self.task_space.decode_many(encoded)
        policy = copy.deepcopy(self.policy) if self._copy_policy else self.policy
        returns, lengths, successes = (np.zeros((len(encoded), self._episodes_per_task)) for _ in range(3))
        todo = [(row, episode) for row in range(len(encoded)) for episode in range(self._episodes_per_task)][::-1]
        running: dict[int, tuple[int, int]] = {}  # environment: row and number of its episode
        observations: dict[int, Any] = {}
        while True:
            for number, env in enumerate(self._envs):
                if number not in running and todo:
                    row, episode = running[number] = todo.pop()
                    observations[number], _ = env.reset(seed=self._seed + episode, new_task=decoded[row])  # type: ignore[call-arg]
            if not running:
                break
            numbers = sorted(running)
            for number, action in zip(
                numbers, self._act(policy, [observations[each] for each in numbers]), strict=True
            ):
                cell = running[number]
                observation, reward, terminated, truncated, info = self._envs[number].step(action)
                observations[number] = observation
                returns[cell] += float(reward)
                lengths[cell] += 1
                successes[cell] = float(info.get("task_completion", 0.0)) >= self._success_threshold
                if terminated or truncated or lengths[cell] == self._max_steps:
                    del running[number]
        return Evaluation(encoded, successes.mean(axis=1), returns.mean(axis=1), lengths.mean(axis=1))

    def update(self, curriculum: Learner, tasks: Sequence[Any] | None = None) -> Evaluation:
        """Evaluate, and push the success rates to a curriculum that learns from evaluations."""
        evaluation = self.evaluate(tasks)
        if tasks is None:
            curriculum.custom_update(success_rates=evaluation.success_rates)
        else:
            curriculum.custom_update(success_rates=evaluation.success_rates, tasks=evaluation.tasks)
        return evaluation

    def close(self) -> None:
        """Close the environments."""
        for env in self._envs:
            env.close()

    def _all_tasks(self) -> np.ndarray:
        if self.task_space.num_tasks is None:
            raise TypeError(f"tasks: expected a list of tasks, as {type(self.task_space).__name__} is not enumerable")
        return self.task_space.from_index(np.arange(self.task_space.num_tasks))

    def _act(self, policy: Policy, observations: list[Any]) -> list[Any]:
        space = self._envs[0].observation_space
        batch = concatenate(space, observations, create_empty_array(space, n=len(observations)))  # type: ignore[arg-type]
        actions = policy(batch)
        action_space = gym.vector.utils.batch_space(self._envs[0].action_space, len(observations))
        return list(iterate(action_space, actions))
