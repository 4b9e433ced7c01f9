"""A learner that needs only numpy: augmented random search, with a baseline for each task."""

from __future__ import annotations

import numpy as np


class RandomSearch:
    """Augmented random search (Mania, Guy and Recht, arXiv 1803.07055, algorithm 1, V1), for returns of many tasks.

    1. Ask: directions d_1..d_n from a standard normal; the candidates are θ + ν d_i and θ - ν d_i.
    2. Each candidate runs one episode, of whichever task the curriculum gives it. Its advantage A is its return less
       the mean return that this task has had lately: tasks differ far more than candidates do.
    3. Tell: ``θ ← θ + α / (n σ) Σ_i (A(θ + ν d_i) - A(θ - ν d_i)) d_i``, σ the deviation of the 2n advantages.

    A task that always or never succeeds has advantages of 0 and teaches nothing, so it matters which tasks are run.

    Args:
        num_parameters: length of θ, which begins at 0.
        num_tasks: number of tasks.
        seed: of the directions.
        directions: n.
        step_size: α.
        noise: ν.
        baseline_rate: weight of a new return in its task's mean.
    """

    def __init__(
        self,
        num_parameters: int,
        num_tasks: int,
        *,
        seed: int,
        directions: int = 32,
        step_size: float = 0.1,
        noise: float = 0.3,
        baseline_rate: float = 0.2,
    ) -> None:
        self.parameters = np.zeros(num_parameters)
        self.task_returns = np.full(num_tasks, np.nan)  # NaN: never run
        self._rng = np.random.default_rng(seed)
        self._num_directions = directions
        self._step_size = step_size
        self._noise = noise
        self._baseline_rate = baseline_rate
        self._directions = np.zeros((0, num_parameters))

    def ask(self) -> np.ndarray:
        """The candidates of a generation, float64 (2n, num_parameters)."""
        self._directions = self._rng.standard_normal((self._num_directions, len(self.parameters)))
        step = self._noise * self._directions
        return np.concatenate([self.parameters + step, self.parameters - step])

    def tell(self, tasks: np.ndarray, returns: np.ndarray) -> None:
        """Learn from the candidates' episodes, in the order of ``ask``: task ids int64 (2n,), returns float64 (2n,)."""
        if len(tasks) != 2 * len(self._directions) or len(returns) != len(tasks):
            raise ValueError(
                f"expected {2 * len(self._directions)} tasks and returns, got {len(tasks)}, {len(returns)}"
            )
        advantages = self._advantages(tasks, returns)
        deviation = advantages.std()
        if deviation <= 1e-9 * np.abs(returns).max():  # nothing but rounding
            return
        plus, minus = np.split(advantages, 2)
        step = self._step_size / (len(plus) * deviation)
        self.parameters = self.parameters + step * (plus - minus) @ self._directions

    def _advantages(self, tasks: np.ndarray, returns: np.ndarray) -> np.ndarray:
        """Step 2. On its first run a task's baseline is the mean of this generation's returns on it."""
        seen, first = np.unique(tasks, return_inverse=True)
        counts = np.bincount(first)
        means = np.bincount(first, weights=returns) / counts
        before = self.task_returns[seen]
        before = np.where(np.isnan(before), means, before)
        self.task_returns[seen] = before + (1.0 - (1.0 - self._baseline_rate) ** counts) * (means - before)
        return returns - before[first]
