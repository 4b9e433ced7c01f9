"""The task of the next reset, set ahead: for vector environments that reset inside ``step``."""

from __future__ import annotations

from typing import Any, Generic

import gymnasium as gym
from gymnasium.core import ActType, ObsType

from syllabus_client.wrappers._new_task import require_new_task


class NextTaskWrapper(
    gym.Wrapper[ObsType, ActType, ObsType, ActType], gym.utils.RecordConstructorArgs, Generic[ObsType, ActType]
):
    """Holds the task of the next reset: what a ``SyncVectorEnv`` or ``AsyncVectorEnv`` needs around each environment.

    Gymnasium's vector environments reset an environment inside ``step``, where no task can be passed; so the task is
    set ahead, by ``vector_env.set_attr("next_task", tasks)``, and every reset takes it from there.

    Attributes:
        next_task: the task of the next reset. It stays until another is set.

    Example:
        >>> from syllabus_client.wrappers.task_interface import TaskWrapper
        >>> env = NextTaskWrapper(TaskWrapper(gym.make("CartPole-v1")))
        >>> env.next_task = 3
        >>> _ = env.reset()
        >>> env.running_task
        3
    """

    def __init__(self, env: gym.Env[ObsType, ActType]) -> None:
        gym.utils.RecordConstructorArgs.__init__(self)
        gym.Wrapper.__init__(self, env)
        require_new_task(env, self.class_name())
        self.next_task: Any = None

    @property
    def running_task(self) -> Any:
        """What the environment runs: its ``task`` where it has one, otherwise the task that it was given."""
        return self.env.get_wrapper_attr("task") if self.env.has_wrapper_attr("task") else self.next_task

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[ObsType, dict[str, Any]]:
        """Reset to ``next_task``."""
        return self.env.reset(seed=seed, options=options, new_task=self.next_task)  # type: ignore[call-arg]
