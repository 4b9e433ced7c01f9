"""The demo's policy: a linear controller whose four gains depend on the task, and its return on every task."""

from __future__ import annotations

import gymnasium as gym
import numpy as np

from examples.cartpole_family import FORCES, LENGTHS, MAX_STEPS, NUM_TASKS, START, set_task

# Each observation (position, velocity, angle, angular velocity) is of order 1 when multiplied by this.
_OBSERVATION_SCALE = np.array([1 / 2.4, 1 / 2, 1 / 0.2, 1 / 2])


def _context() -> np.ndarray:
    """float64 (NUM_TASKS, 3): 1, and the logarithms of length and force, brought to mean 0 and deviation 1."""
    pairs = np.log([(length, force) for length in LENGTHS for force in FORCES])
    return np.column_stack([np.ones(NUM_TASKS), (pairs - pairs.mean(axis=0)) / pairs.std(axis=0)])


_CONTEXT = _context()
NUM_PARAMETERS = _CONTEXT.shape[1] * len(_OBSERVATION_SCALE)


def gains(parameters: np.ndarray, task: int | np.ndarray) -> np.ndarray:
    """The controller for a task: push right where ``observation @ gains > 0``, otherwise left.

    Args:
        parameters: float64 (12,).
        task: the task's id, or ids (n,).

    Returns:
        float64 (4,), or (n, 4).
    """
    return _CONTEXT[task] @ parameters.reshape(_CONTEXT.shape[1], -1) * _OBSERVATION_SCALE


def evaluate(parameters: np.ndarray, episodes: int = 10, seed: int = 20_000) -> np.ndarray:
    """Mean return on every task, float64 (NUM_TASKS,), over episodes from the same starts for the same seed.

    All episodes run at once in gymnasium's vector form of CartPole-v1, outside of any curriculum. About 0.1 s.
    """
    tasks = np.repeat(np.arange(NUM_TASKS), episodes)
    env = gym.make_vec("CartPole-v1", num_envs=len(tasks), vectorization_mode="vector_entry_point")
    set_task(env.unwrapped, np.repeat(LENGTHS, len(tasks) // len(LENGTHS)), np.array(FORCES)[tasks % len(FORCES)])
    controllers = gains(parameters, tasks)
    observations, _ = env.reset(seed=seed, options={"low": -START, "high": START})
    returns = np.zeros(len(tasks))
    running = np.ones(len(tasks), dtype=bool)
    for _ in range(MAX_STEPS):
        actions = ((observations * controllers).sum(axis=1) > 0).astype(np.int64)
        observations, rewards, terminated, _, _ = env.step(actions)
        returns += rewards * running
        running &= ~terminated
        if not running.any():
            break
    env.close()
    return returns.reshape(NUM_TASKS, episodes).mean(axis=1)
