"""The interface of a curriculum, built in or the user's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from syllabus_client.task_spaces import TaskSpace
from syllabus_service.curricula.batch import Draw, EpisodeBatch, StepBatch


class Curriculum:
    """A distribution over a task space that learns from episodes.

    A curriculum is deterministic: what it draws depends on its seed and on the calls so far, never on a clock or on
    global random state. Tasks go in and out *encoded* (see ``TaskSpace``). The service calls ``draw``, the ``update_*``
    methods, ``custom_update`` and ``on_abandoned`` from one thread, in one order.

    To write one, override ``_draw`` (or ``sample``), whichever updates it learns from, and ``_distribution`` where the
    space is enumerable. Name the attributes that make up its state in ``state_fields`` and it can be saved; a subclass
    that overrides ``update_on_episode`` calls ``super().update_on_episode``, and one that overrides
    ``update_on_episodes`` without calling the former adds the number of episodes to ``num_episodes``, which ends the
    warm-up.

    Args:
        task_space: the tasks.
        seed: of the curriculum's own random generator, a non-negative int; None draws one from the operating system.
        random_start_tasks: warm-up: tasks are drawn uniformly until this many episodes have been reported.

    Example:
        >>> import numpy as np
        >>> from syllabus_client.task_spaces import DiscreteTaskSpace
        >>> class Even(Curriculum):
        ...     def _draw(self, k):
        ...         return 2 * self.rng.integers(0, self.task_space.num_tasks // 2, size=k)
        >>> bool((Even(DiscreteTaskSpace(10), seed=1).sample(4) % 2 == 0).all())
        True
    """

    requires_step_updates: bool = False
    """Whether environments must send step batches."""

    one_at_a_time: bool = False
    """Whether updates get one episode, or one run of steps of one environment and episode, in each call.

    So one that raises is refused alone, and the others of its batch count. Episodes come so anyway where only
    ``update_on_episode`` is overridden.
    """

    state_fields: tuple[str, ...] | None = None
    """Names of the attributes that make up the state: arrays, plain values, or nested dicts and lists of them.

    ``()`` for a curriculum without state of its own. None: it cannot be saved, and recovers by replay of its journal
    alone.
    """

    def __init__(self, task_space: TaskSpace, *, seed: int | None = None, random_start_tasks: int = 0) -> None:
        if random_start_tasks < 0:
            raise ValueError(f"random_start_tasks: expected at least 0, got {random_start_tasks}")
        self.task_space = task_space
        self.rng = np.random.Generator(np.random.PCG64(seed))
        self.random_start_tasks = random_start_tasks
        self.num_episodes = 0

    @property
    def num_tasks(self) -> int:
        """N, the number of tasks. Raises TypeError where the space is not enumerable."""
        if self.task_space.num_tasks is None:
            raise TypeError(
                f"{type(self).__name__} needs an enumerable task space, got {type(self.task_space).__name__}"
            )
        return self.task_space.num_tasks

    @property
    def warming_up(self) -> bool:
        """Whether tasks are still drawn uniformly."""
        return self.num_episodes < self.random_start_tasks

    # Drawing

    def sample(self, k: int = 1) -> np.ndarray:
        """Draw up to k encoded tasks, (k, *encoded_shape)."""
        return self.draw(k).tasks

    def draw(self, k: int = 1) -> Draw:
        """Draw up to k tasks with their probabilities and purposes: what the service calls."""
        if type(self).sample is not Curriculum.sample:  # a subclass that only knows sample()
            return Draw(self._as_tasks(self.sample(k)))
        drawn = self._draw_uniform(k) if self.warming_up else self._draw(k)
        if not isinstance(drawn, Draw):
            drawn = Draw(self._as_tasks(drawn))
        self.on_sampled(drawn.tasks)
        return drawn

    def distribution(self) -> np.ndarray:
        """float64 (N,): the probability of each task, by index; sums to 1. Uniform during the warm-up.

        Raises TypeError where the space is not enumerable, NotImplementedError where there is no distribution.
        """
        if self.warming_up:
            return np.full(self.num_tasks, 1.0 / self.num_tasks)
        return self._distribution()

    def _draw(self, k: int) -> Draw | np.ndarray:
        """Draw up to k encoded tasks from the curriculum's own distribution."""
        raise NotImplementedError(f"{type(self).__name__} must define _draw(k) or sample(k)")

    def _distribution(self) -> np.ndarray:
        """float64 (N,): the curriculum's own distribution."""
        self.num_tasks  # noqa: B018 - raises where the space is not enumerable
        raise NotImplementedError(f"{type(self).__name__} does not tell its distribution")

    def _draw_uniform(self, k: int) -> Draw:
        tasks = self.task_space.sample(k, self.rng)
        count = self.task_space.num_tasks
        return Draw(tasks, None if count is None else np.full(len(tasks), 1.0 / count))

    def _as_tasks(self, tasks: Any) -> np.ndarray:
        shape = (-1, *self.task_space.encoded_shape)
        return np.asarray(tasks, dtype=self.task_space.encoded_dtype).reshape(shape)

    # Learning

    def update_on_episode(
        self, episode_return: float, length: int, task: Any, progress: float, env_id: int | None = None
    ) -> None:
        """Take one finished episode of an encoded task. ``progress`` is its task completion in [0, 1]."""
        self.num_episodes += 1

    def update_on_episodes(self, batch: EpisodeBatch) -> None:
        """Take n finished episodes. The default calls ``update_on_episode`` for each; columns are faster."""
        for task, episode_return, length, progress, env_id in zip(
            batch.tasks,
            batch.episode_returns.tolist(),
            batch.lengths.tolist(),
            batch.progress.tolist(),
            batch.env_ids.tolist(),
            strict=True,
        ):
            self.update_on_episode(episode_return, length, task, progress, env_id)

    def update_task_progress(self, task: Any, progress: float, env_id: int | None = None) -> None:
        """Take the completion of an encoded task in the middle of its episode."""

    def update_on_step_batch(self, batch: StepBatch) -> None:
        """Take environment steps; called only where ``requires_step_updates``."""

    def on_reported(self) -> None:
        """Learn that all of a report that had steps was told: its steps, its progress and its episodes."""

    def custom_update(self, **metrics: Any) -> Mapping[str, np.ndarray] | None:
        """Take what only the learner knows, as named arrays and plain values. May answer with named arrays.

        Raises ValueError, naming the argument, for what the algorithm cannot use; then nothing has changed.
        """
        raise ValueError(f"{type(self).__name__} takes no custom update, got {sorted(metrics)}")

    def on_sampled(self, tasks: np.ndarray) -> None:
        """Learn that encoded tasks (k, *encoded_shape) were drawn."""

    def on_abandoned(self, tasks: np.ndarray) -> None:
        """Learn that encoded tasks (k, *encoded_shape) were handed out and will not be run to an end."""

    # State

    def state_dict(self) -> dict[str, Any]:
        """The whole state, random generator included: copies of arrays, plain values, nested dicts and lists.

        Raises NotImplementedError where ``state_fields`` is None.
        """
        if self.state_fields is None:
            raise NotImplementedError(f"{type(self).__name__} names no state_fields, so it cannot be saved")
        state = {name: _copy(getattr(self, name)) for name in self.state_fields}
        return {"rng": self.rng.bit_generator.state, "num_episodes": self.num_episodes, "fields": state}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore exactly the state that ``state_dict`` gave: all of it, or nothing where that raises.

        Raises ValueError for another algorithm's state, and whatever a damaged one leads to. O(state): the present
        state is kept until the other has been taken.
        """
        if self.state_fields is None or set(state["fields"]) != set(self.state_fields):
            raise ValueError(
                f"expected the state of {type(self).__name__}, with {sorted(self.state_fields or ())}, "
                f"got {sorted(state['fields'])}"
            )
        before = self.state_dict()
        try:
            self._restore(state)
        except Exception:
            self._restore(before)
            raise

    def _restore(self, state: Mapping[str, Any]) -> None:
        """Take a state with this class's fields; where it raises, it is called again with the state before.

        Override it to check a state, and to derive what isn't a state field from those that are.
        """
        self.rng.bit_generator.state = state["rng"]
        self.num_episodes = int(state["num_episodes"])
        for name in self.state_fields or ():
            setattr(self, name, _copy(state["fields"][name]))


def _copy(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.copy()
    if isinstance(value, dict):
        return {key: _copy(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_copy(item) for item in value)
    return value
