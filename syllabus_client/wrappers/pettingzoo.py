"""Parallel multi-agent environments under a curriculum, and with a task. Needs the extra ``pettingzoo``."""

from __future__ import annotations

from typing import Any

from pettingzoo.utils.env import ActionType, AgentID, ObsType, ParallelEnv
from pettingzoo.utils.wrappers.base_parallel import BaseParallelWrapper

from syllabus_client.errors import NotSupportedError
from syllabus_client.settings import SessionSettings
from syllabus_client.task_spaces import TaskSpace
from syllabus_client.wrappers._episode import Episode
from syllabus_client.wrappers._new_task import require_new_task
from syllabus_client.wrappers._session_link import ServiceHandle, SessionLink


class PettingZooTaskWrapper(BaseParallelWrapper[AgentID, ObsType, ActionType]):
    """Gives any parallel environment a ``reset`` that takes a task: what ``TaskWrapper`` does for gymnasium.

    Override ``change_task`` to apply a task to the wrapped environment. Where that has a ``change_task`` of its own,
    the default hands the task on.

    Attributes:
        task: the task that the environment runs, or None before the first.
    """

    def __init__(self, env: ParallelEnv[AgentID, ObsType, ActionType]) -> None:
        super().__init__(env)
        self.task: Any = None

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None, new_task: Any = None
    ) -> tuple[dict[AgentID, ObsType], dict[AgentID, dict[str, Any]]]:
        """Change the task and reset. A ``new_task`` of None keeps the task."""
        if new_task is not None:
            self.change_task(new_task)
        return self.env.reset(seed=seed, options=options)

    def change_task(self, new_task: Any) -> None:
        """Make ``new_task`` the task; hand it on to an environment underneath that has a ``change_task``."""
        self.task = new_task
        if hasattr(self.env, "change_task"):
            self.env.change_task(new_task)
            self.task = getattr(self.env, "task", new_task)


class PettingZooSyncWrapper(BaseParallelWrapper[AgentID, ObsType, ActionType]):
    """Runs each episode on the task that the curriculum hands out, and reports the returns of all agents.

    What ``GymnasiumSyncWrapper`` does, for PettingZoo's parallel API. An episode ends when no agent is left, or when
    every agent of the step has terminated or was truncated. It is reported with

    - the return of each agent by name, however early it left; agents that took no part have none;
    - as its return the sum over the agents, so that shared rewards should be divided by their number;
    - as its progress the largest ``task_completion`` in the agents' infos of the last step that had one.

    Each agent's info gets ``task`` (encoded) and ``task_purpose`` ("train" or "evaluate"). An agent's info may hold
    ``episode_metrics``, scalars by name, in the episode's last step; where several agents give one, their mean counts.
    Steps are not sent: agents come and go within an episode. So a curriculum that requires them is refused.

    Args:
        env: a parallel environment whose ``reset`` takes ``new_task``.
        target: see ``GymnasiumSyncWrapper``; so are the other arguments. (An AEC environment becomes a parallel one by
            PettingZoo's ``aec_to_parallel``.)

    Raises:
        NoTaskInResetError: ``reset`` of ``env`` takes no ``new_task``.
        TypeError: ``change_task_on_completion`` without a ``change_task`` in ``env``.
    """

    def __init__(
        self,
        env: ParallelEnv[AgentID, ObsType, ActionType],
        target: str | ServiceHandle | None = None,
        *,
        curriculum: str | None = None,
        token: str | None = None,
        env_id: int | None = None,
        settings: SessionSettings | None = None,
        change_task_on_completion: bool = False,
        task_attribute: str | None = "task",
    ) -> None:
        super().__init__(env)
        require_new_task(env, type(self).__name__, "PettingZooTaskWrapper")
        if change_task_on_completion and not hasattr(env, "change_task"):
            raise TypeError(f"change_task_on_completion: expected an environment with change_task, got {env}")
        link = SessionLink(target, curriculum=curriculum, token=token, settings=settings, env_id=env_id)
        self._episode = Episode(link)
        self._returns: dict[AgentID, float] = {}
        self._change_task_on_completion = change_task_on_completion
        self._task_attribute = task_attribute

    @property
    def task_space(self) -> TaskSpace:
        """The curriculum's tasks. Connects; waits as ``reset`` may."""
        return self._episode.link.session.task_space

    @property
    def env_id(self) -> int:
        """Identity of this environment. Connects."""
        self._episode.link.session  # noqa: B018 - draws the identity in the process that uses it
        return self._episode.link.env_id

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[AgentID, ObsType], dict[AgentID, dict[str, Any]]]:
        """Reset the environment to the curriculum's next task.

        Raises NotSupportedError for a curriculum that requires step updates, and as ``GymnasiumSyncWrapper.reset``.
        """
        if self._episode.link.session.requires_step_updates:
            raise NotSupportedError(
                "the curriculum requires step updates, which PettingZooSyncWrapper does not send: report what it needs "
                "from the learner by custom_update, or choose a curriculum that learns from episodes"
            )
        observations, infos = self._episode.start(
            lambda task: self.env.reset(seed=seed, options=options, new_task=task), self._running_task
        )
        self._returns = {}
        self._describe(infos)
        return observations, infos

    def step(
        self, actions: dict[AgentID, ActionType]
    ) -> tuple[
        dict[AgentID, ObsType],
        dict[AgentID, float],
        dict[AgentID, bool],
        dict[AgentID, bool],
        dict[AgentID, dict[str, Any]],
    ]:
        """Step the environment; the step that ends an episode reports it. Never waits for the network."""
        observations, rewards, terminations, truncations, infos = self.env.step(actions)
        episode = self._episode
        if episode.assignment is not None:
            for agent, reward in rewards.items():
                self._returns[agent] = self._returns.get(agent, 0.0) + float(reward)
            episode.length += 1
            completions = [float(info["task_completion"]) for info in infos.values() if "task_completion" in info]
            if completions:
                episode.completion = max(completions)
            self._describe(infos)
            if not self.env.agents or all(terminations[agent] or truncations[agent] for agent in terminations):
                self._report(infos)
            elif self._change_task_on_completion and episode.task_is_over:
                self._report(infos)
                episode.start(self.env.change_task, self._running_task)
                self._returns = {}
        return observations, rewards, terminations, truncations, infos

    def close(self) -> None:
        """Give an unfinished episode's assignment back, deliver what was reported, and close the environment."""
        try:
            self._episode.close()
        finally:
            self.env.close()

    def _running_task(self) -> Any:
        return None if self._task_attribute is None else getattr(self.env, self._task_attribute, None)

    def _describe(self, infos: dict[AgentID, dict[str, Any]]) -> None:
        for info in infos.values():
            info["task"] = self._episode.encoded
            info["task_purpose"] = self._episode.purpose

    def _report(self, infos: dict[AgentID, dict[str, Any]]) -> None:
        self._episode.report(
            sum(self._returns.values()),
            _mean_metrics(infos),
            {str(agent): value for agent, value in self._returns.items()},
        )


def _mean_metrics(infos: dict[Any, dict[str, Any]]) -> dict[str, float] | None:
    values: dict[str, list[float]] = {}
    for info in infos.values():
        for name, value in info.get("episode_metrics", {}).items():
            values.setdefault(name, []).append(float(value))
    return {name: sum(each) / len(each) for name, each in values.items()} or None
