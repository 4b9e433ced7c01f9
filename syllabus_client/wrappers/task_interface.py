"""The task interface: environments whose ``reset`` takes a task, and wrappers that make one of any environment."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic

import gymnasium as gym
from gymnasium.core import ActType, ObsType


class TaskEnv(gym.Env[ObsType, ActType], Generic[ObsType, ActType]):
    """An environment with a task. Convenient, not required: any environment whose ``reset`` takes ``new_task`` will do.

    Override ``change_task`` and, as in every gymnasium environment, ``reset`` and ``step``; ``reset`` begins with
    ``super().reset(seed=seed, new_task=new_task)``. An environment that cannot run the task that it is given leaves
    ``task`` as what it runs instead: that is what is reported. ``step`` may put ``task_completion``, a number in
    [0, 1], into its info.

    Attributes:
        task: the task that the environment runs, or None before the first.

    Example:
        >>> class Corridor(TaskEnv):
        ...     observation_space = gym.spaces.Discrete(100)
        ...     action_space = gym.spaces.Discrete(2)
        ...     def reset(self, *, seed=None, options=None, new_task=None):
        ...         super().reset(seed=seed, new_task=new_task)
        ...         self.place = 0
        ...         return 0, {}
        ...     def step(self, action):
        ...         self.place += action
        ...         done = self.place == self.task
        ...         return self.place, float(done), done, False, {"task_completion": self.place / self.task}
        >>> env = Corridor()
        >>> env.reset(new_task=2)
        (0, {})
        >>> env.step(1)
        (1, 0.0, False, False, {'task_completion': 0.5})
    """

    task: Any = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None, new_task: Any = None
    ) -> tuple[ObsType, dict[str, Any]]:
        """Seed the environment's generator and change its task. A ``new_task`` of None keeps the task."""
        super().reset(seed=seed, options=options)
        if new_task is not None:
            self.change_task(new_task)
        return None  # type: ignore[return-value]  # as gymnasium.Env: the subclass returns observation and info

    def change_task(self, new_task: Any) -> None:
        """Make ``new_task`` the task. Called by ``reset``, and in the middle of an episode on a change of task."""
        self.task = new_task


class TaskWrapper(
    gym.Wrapper[ObsType, ActType, ObsType, ActType], gym.utils.RecordConstructorArgs, Generic[ObsType, ActType]
):
    """Gives any environment a ``reset`` that takes a task.

    Override ``change_task`` to apply a task to the wrapped environment, and ``_task_completion`` to tell how far the
    task has been completed. Where an environment underneath has a ``change_task`` of its own, such as a ``TaskEnv``
    that ``gymnasium.make`` put behind its usual wrappers, the default hands the task on.

    Attributes:
        task: the task that the environment runs, or None before the first.

    Example:
        >>> class PoleLength(TaskWrapper):
        ...     def change_task(self, new_task):
        ...         self.unwrapped.length = new_task
        ...         super().change_task(new_task)
        >>> env = PoleLength(gym.make("CartPole-v1"))
        >>> _, info = env.reset(seed=1, new_task=0.75)
        >>> info["task"], env.unwrapped.length
        (0.75, 0.75)
    """

    _tells_completion = False  # whether _task_completion is overridden

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._tells_completion = cls._task_completion is not TaskWrapper._task_completion

    def __init__(self, env: gym.Env[ObsType, ActType]) -> None:
        if not hasattr(self, "_saved_kwargs"):
            gym.utils.RecordConstructorArgs.__init__(self)
        gym.Wrapper.__init__(self, env)
        self.task: Any = None
        self._hands_on = False

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None, new_task: Any = None
    ) -> tuple[ObsType, dict[str, Any]]:
        """Change the task and reset. A ``new_task`` of None keeps the task. info["task"] is the task."""
        if new_task is not None:
            self.change_task(new_task)
        observation, info = self.env.reset(seed=seed, options=options)
        if self._hands_on and self.env.has_wrapper_attr("task"):
            self.task = self.env.get_wrapper_attr("task")  # which the environment may have chosen otherwise
        info["task"] = self.task
        return observation, info

    def step(self, action: ActType) -> tuple[ObsType, Any, bool, bool, dict[str, Any]]:
        """Step, and put ``task`` and, where it is known, ``task_completion`` into info."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        if self._tells_completion:
            completion = self._task_completion(observation, reward, terminated, truncated, info)
            if completion is not None:
                info["task_completion"] = completion
        info["task"] = self.task
        return observation, reward, terminated, truncated, info

    def change_task(self, new_task: Any) -> None:
        """Make ``new_task`` the task; hand it on to an environment underneath that has a ``change_task``."""
        self.task = new_task
        self._hands_on = self.env.has_wrapper_attr("change_task")
        if self._hands_on:
            self.env.get_wrapper_attr("change_task")(new_task)
            if self.env.has_wrapper_attr("task"):
                self.task = self.env.get_wrapper_attr("task")

    def _task_completion(
        self, observation: ObsType, reward: Any, terminated: bool, truncated: bool, info: dict[str, Any]
    ) -> float | None:
        """How far the task has been completed, in [0, 1]. None, the default, leaves what info says."""
        return None


class ReinitTaskWrapper(TaskWrapper[ObsType, ActType], Generic[ObsType, ActType]):
    """Runs each task in a new environment from a factory: for environments that fix their task when they are made.

    The environment before is closed. The first environment serves for the spaces and, until the first task, as is.
    Where ``reset`` was given a seed once, new environments are seeded from it, so that a seeded run repeats.

    Args:
        env: an environment of any task; closed at the first change of task.
        env_fn: makes the environment of a task.

    Example:
        >>> env = ReinitTaskWrapper(gym.make("FrozenLake-v1"), lambda size: gym.make("FrozenLake-v1", map_name=size))
        >>> _ = env.reset(seed=1, new_task="8x8")
        >>> env.unwrapped.nrow
        8
        >>> env.close()
    """

    def __init__(self, env: gym.Env[ObsType, ActType], env_fn: Callable[[Any], gym.Env[ObsType, ActType]]) -> None:
        gym.utils.RecordConstructorArgs.__init__(self, env_fn=env_fn)
        super().__init__(env)
        self._env_fn = env_fn
        self._seeds: Any = None  # a generator once reset was seeded
        self._is_new = False

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None, new_task: Any = None
    ) -> tuple[ObsType, dict[str, Any]]:
        if new_task is not None:
            self.change_task(new_task)
        if seed is not None:
            self._seeds, _ = gym.utils.seeding.np_random(seed)
        elif self._is_new and self._seeds is not None:
            seed = int(self._seeds.integers(2**31))
        self._is_new = False
        observation, info = self.env.reset(seed=seed, options=options)
        info["task"] = self.task
        return observation, info

    def change_task(self, new_task: Any) -> None:
        """Make the environment of ``new_task``, and close the one before. It must be reset before it is stepped."""
        env = self._env_fn(new_task)
        self.env.close()
        self.env = env
        self._cached_spec = None
        self._is_new = True
        self.task = new_task


class SubclassTaskWrapper(ReinitTaskWrapper[ObsType, ActType], Generic[ObsType, ActType]):
    """Runs tasks that are environment classes. A task is a class's place in the list, or its name.

    Args:
        env: an environment of any of the classes.
        task_subclasses: the classes, one per task.
        **env_init_kwargs: what each class is made with.

    Attributes:
        task: the place of the class that runs, or None before the first task.

    Example:
        >>> from gymnasium.envs.classic_control import CartPoleEnv
        >>> class Heavy(CartPoleEnv):
        ...     def __init__(self, **kwargs):
        ...         super().__init__(**kwargs)
        ...         self.masspole = 1.0
        >>> env = SubclassTaskWrapper(CartPoleEnv(), [CartPoleEnv, Heavy])
        >>> _ = env.reset(new_task="Heavy")
        >>> env.task, env.unwrapped.masspole
        (1, 1.0)
    """

    def __init__(
        self,
        env: gym.Env[ObsType, ActType],
        task_subclasses: Sequence[type[gym.Env[ObsType, ActType]]],
        **env_init_kwargs: Any,
    ) -> None:
        gym.utils.RecordConstructorArgs.__init__(self, task_subclasses=task_subclasses, **env_init_kwargs)
        super().__init__(env, self._make)
        self._classes = tuple(task_subclasses)
        self._init_kwargs = env_init_kwargs

    def change_task(self, new_task: int | str) -> None:
        """Make an environment of the class ``new_task``. Raises ValueError where there is none."""
        names = [each.__name__ for each in self._classes]
        if isinstance(new_task, str):
            if new_task not in names:
                raise ValueError(f"new_task: expected one of {names}, got {new_task!r}")
            new_task = names.index(new_task)
        if not 0 <= new_task < len(names):
            raise ValueError(f"new_task: expected a number from 0 to {len(names) - 1}, got {new_task!r}")
        super().change_task(int(new_task))

    def _make(self, task: int) -> gym.Env[ObsType, ActType]:
        return self._classes[task](**self._init_kwargs)
