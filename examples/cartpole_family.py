"""CartPole-v1 as a family of tasks: half the pole's length times the magnitude of the force on the cart."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from syllabus_client.task_spaces import MultiDiscreteTaskSpace
from syllabus_client.wrappers.task_interface import TaskWrapper

#: Half lengths of the pole in metres, each 2.15 times the one before. CartPole-v1 has 0.5.
LENGTHS = tuple(float(f"{value:.3g}") for value in np.geomspace(0.05, 50.0, 10))
#: Magnitudes of the force in newtons, each 1.8 times the one before. CartPole-v1 has 10.
FORCES = tuple(float(f"{value:.3g}") for value in np.geomspace(0.7, 150.0, 10))
NUM_TASKS = len(LENGTHS) * len(FORCES)
MAX_STEPS = 500  # CartPole-v1's limit, and so the best return
#: Each part of the first state is uniform within this distance of 0, three times CartPole-v1's; at an angle of 0.21 the
#: pole has fallen.
START = 0.15


class CartPoleFamily(TaskWrapper[np.ndarray, int]):
    """CartPole-v1 with the pole and the force of its task.

    A task is a pair (half length in metres, force in newtons) of any positive numbers. Some tasks are easy, and some
    cannot be done: a short pole is thrown down by one push of a strong motor, and under a very long one the cart runs
    out of track before the pole moves. Task completion is the share of the 500 steps that the pole has stayed up.

    Example:
        >>> env = make_cartpole()
        >>> _, info = env.reset(seed=1, new_task=(0.5, 10.0))
        >>> info["task"], env.step(0)[-1]["task_completion"]
        ((0.5, 10.0), 0.002)
    """

    def __init__(self, env: gym.Env[np.ndarray, int]) -> None:
        super().__init__(env)
        self._steps = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None, new_task: Any = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        self._steps = 0
        return super().reset(seed=seed, options={"low": -START, "high": START, **(options or {})}, new_task=new_task)

    def change_task(self, new_task: tuple[float, float]) -> None:
        """Give the cart the pole and the motor of ``new_task``."""
        length, force = new_task
        set_task(self.unwrapped, length, force)
        self.task = (length, force)

    def _task_completion(self, *_: Any) -> float:
        self._steps += 1
        return self._steps / MAX_STEPS


def make_cartpole() -> CartPoleFamily:
    """One environment of the family."""
    return CartPoleFamily(gym.make("CartPole-v1", disable_env_checker=True))


def task_space() -> MultiDiscreteTaskSpace:
    """The family's tasks: every length with every force, in which the force varies fastest."""
    return MultiDiscreteTaskSpace([LENGTHS, FORCES])


def set_task(cartpole: Any, length: Any, force: Any) -> None:
    """Set half length and force of a CartPole: of one environment, or, by arrays (n,), of a vector environment's n."""
    cartpole.length = length
    cartpole.polemass_length = cartpole.masspole * length
    cartpole.force_mag = force
