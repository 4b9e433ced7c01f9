"""How a vector environment is told its tasks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from gymnasium.vector import VectorEnv


class VectorTasks(Protocol):
    """What a vectorised task environment offers: ``set_tasks``, and ``running_tasks`` where it may choose otherwise."""

    def set_tasks(self, mask: np.ndarray, tasks: Sequence[Any]) -> None:
        """Set the task of the *next* reset of some environments.

        It takes effect at that environment's next reset, by ``reset`` or by an autoreset, and never before.

        Args:
            mask: bool (num_envs,): which environments.
            tasks: decoded tasks, one per True of ``mask``, in the order of the environments.
        """

    def running_tasks(self, mask: np.ndarray) -> Sequence[Any]:
        """The decoded tasks that the environments of ``mask`` run, in their order. Called after their reset."""


class MissingVectorTasksError(TypeError):
    """A vector environment has no way to be told its tasks."""


class SubEnvironmentTasks:
    """Tasks of a vector environment of separate environments, each with a NextTaskWrapper outermost.

    One call of ``set_attr`` reaches all environments; of an AsyncVectorEnv that is a round trip to each worker.
    """

    def __init__(self, env: VectorEnv) -> None:
        self._env = env
        self._next: list[Any] = list(env.get_attr("next_task"))  # type: ignore[attr-defined]

    def set_tasks(self, mask: np.ndarray, tasks: Sequence[Any]) -> None:
        for row, task in zip(np.flatnonzero(mask), tasks, strict=True):
            self._next[row] = task
        self._env.set_attr("next_task", self._next)  # type: ignore[attr-defined]

    def running_tasks(self, mask: np.ndarray) -> Sequence[Any]:
        running = self._env.get_attr("running_task")  # type: ignore[attr-defined]
        return [running[row] for row in np.flatnonzero(mask)]


def vector_tasks(env: VectorEnv) -> VectorTasks:
    """The way of ``env``, or of what it wraps, to be told tasks: its own ``set_tasks``, or its environments' wrappers.

    Raises MissingVectorTasksError, saying what to do, where there is none.
    """
    layer: Any = env
    while True:
        if hasattr(layer, "set_tasks"):
            return layer
        if "env" not in vars(layer):
            break
        layer = layer.env
    if hasattr(layer, "set_attr") and hasattr(layer, "get_attr"):
        try:
            return SubEnvironmentTasks(layer)
        except AttributeError as error:
            raise MissingVectorTasksError(
                f"the environments of {env} cannot be told the task of their next reset: put a NextTaskWrapper around "
                f"each of them"
            ) from error
    raise MissingVectorTasksError(
        f"{env} cannot be told its tasks: give it set_tasks(mask, tasks), which sets the tasks of the next resets"
    )
