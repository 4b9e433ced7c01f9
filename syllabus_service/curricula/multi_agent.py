"""Curricula of multi-agent environments: one that all agents teach, or one for each agent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from syllabus_client.task_spaces import TaskSpace
from syllabus_service.curricula.base import Curriculum
from syllabus_service.curricula.batch import Draw, EpisodeBatch, StepBatch
from syllabus_service.curricula.product_curriculum import (
    CurriculumSpec,
    ProductCurriculum,
    build,
    components,
    select,
)


def checked_agents(possible_agents: Sequence[str]) -> tuple[str, ...]:
    """Distinct names, at least one. Raises ValueError, naming the parameter."""
    agents = tuple(possible_agents)
    if not agents or len(set(agents)) != len(agents) or not all(isinstance(agent, str) for agent in agents):
        raise ValueError(f"possible_agents: expected distinct names, at least one, got {possible_agents!r}")
    return agents


def returns_by_agent(batch: EpisodeBatch, possible_agents: tuple[str, ...]) -> np.ndarray | None:
    """float64 (n, len(possible_agents)): the return of each agent by its place there, NaN where it took no part.

    None where the batch has no agents. A batch may list its agents in any order, and need not list all. Raises
    ValueError for an agent that isn't possible.
    """
    if not batch.agents or batch.agent_returns is None:
        return None
    if unknown := set(batch.agents) - set(possible_agents):
        raise ValueError(f"agents: expected some of {', '.join(possible_agents)}, got {min(unknown)!r}")
    returns = np.full((len(batch), len(possible_agents)), np.nan)
    returns[:, [possible_agents.index(agent) for agent in batch.agents]] = batch.agent_returns
    return returns


class MultiAgentShared(Curriculum):
    """One curriculum whose task all agents play together, and that learns from the return of each of them.

    An episode is, to the inner curriculum, one episode for each agent that took part, of the same task, length and
    progress, with that agent's own return. Agent i of environment e counts as environment e * n + i, of n possible
    agents; with ``joint_policy`` all of them are environment e. An episode without agents' returns counts once, as it
    is. The inner curriculum's own episodes are thus more than this one's. Agents, where the inner curriculum is one of
    self-play, are stored with it.

    Args:
        task_space: the tasks.
        seed: see ``Curriculum``; a spec gets one that follows from it.
        random_start_tasks: see ``Curriculum``; it counts episodes, not agents'.
        curriculum: ``{"algorithm": name, "params": {...}}``, or a curriculum on the same space.
        possible_agents: the names of all agents, in the order of their places.
        joint_policy: whether the agents of an environment are one actor to the learner.
    """

    state_fields = ("inner_state",)

    def __init__(
        self,
        task_space: TaskSpace,
        *,
        curriculum: CurriculumSpec,
        possible_agents: Sequence[str],
        joint_policy: bool = False,
        seed: int | None = None,
        random_start_tasks: int = 0,
    ) -> None:
        super().__init__(task_space, seed=seed, random_start_tasks=random_start_tasks)
        self.possible_agents = checked_agents(possible_agents)
        self.joint_policy = joint_policy
        self.inner = build(curriculum, task_space, seed, 0, "curriculum")
        self.requires_step_updates = self.inner.requires_step_updates

    def _draw(self, k: int) -> Draw:
        return self.inner.draw(k)

    def _distribution(self) -> np.ndarray:
        return self.inner.distribution()

    def on_sampled(self, tasks: np.ndarray) -> None:
        """Tell the inner curriculum of tasks that it didn't draw itself: those of the warm-up."""
        if self.warming_up:
            self.inner.on_sampled(tasks)

    def on_abandoned(self, tasks: np.ndarray) -> None:
        """Pass abandoned tasks on."""
        self.inner.on_abandoned(tasks)

    def update_on_episode(
        self, episode_return: float, length: int, task: Any, progress: float, env_id: int | None = None
    ) -> None:
        """Take one episode that has no agents' returns."""
        self.num_episodes += 1
        self.inner.update_on_episode(episode_return, length, task, progress, env_id)

    def update_on_episodes(self, batch: EpisodeBatch) -> None:
        """Take n finished episodes, one after the other, and in each the agents that took part, by their places.

        Raises ValueError for an agent that isn't possible; then nothing has changed.
        """
        returns = returns_by_agent(batch, self.possible_agents)
        if returns is None:
            self.inner.update_on_episodes(batch)
        else:
            rows, places = np.nonzero(~np.isnan(returns))
            inner = select(batch, batch.tasks, rows, returns[rows, places])
            if not self.joint_policy:
                env_ids = batch.env_ids[rows] * len(self.possible_agents) + places
                inner = EpisodeBatch(
                    inner.tasks, inner.episode_returns, inner.lengths, inner.progress, env_ids, inner.metrics
                )
            self.inner.update_on_episodes(inner)
        self.num_episodes += len(batch)

    def update_task_progress(self, task: Any, progress: float, env_id: int | None = None) -> None:
        """Pass the completion of a task on."""
        self.inner.update_task_progress(task, progress, env_id)

    def update_on_step_batch(self, batch: StepBatch) -> None:
        """Pass steps on."""
        self.inner.update_on_step_batch(batch)

    def custom_update(self, **metrics: Any) -> Mapping[str, np.ndarray] | None:
        """Pass an update on."""
        return self.inner.custom_update(**metrics)

    @property
    def stores_agents(self) -> bool:
        """Whether the inner curriculum does."""
        return getattr(self.inner, "stores_agents", False)

    def add_agent(self, agent: bytes) -> int:
        """Store an agent with the inner curriculum; return its id. Raises ValueError where that takes none."""
        return self._pool("add_agent")(agent)

    def check_agent(self, agent: bytes) -> None:
        """Raise as ``add_agent`` would."""
        self._pool("check_agent")(agent)

    def get_agent(self, agent_id: int) -> bytes:
        """The bytes of an agent. Raises ValueError for an id that was never added, or is kept no more."""
        return self._pool("get_agent")(agent_id)

    def _pool(self, method: str) -> Any:
        found = getattr(self.inner, method, None)
        if found is None:
            raise ValueError(f"curriculum: {type(self.inner).__name__} stores no agents")
        return found

    @property
    def inner_state(self) -> dict[str, Any]:
        """The state of the inner curriculum."""
        return self.inner.state_dict()

    @inner_state.setter
    def inner_state(self, state: Mapping[str, Any]) -> None:
        self.inner.load_state_dict(state)


class MultiAgentIndependent(ProductCurriculum):
    """One curriculum for each agent. A task is a tuple: at place i the task of agent i.

    Agent i's return, and nobody else's, reaches curriculum i, as an episode of the i-th component; of an agent that
    took no part, its curriculum learns nothing. An episode without agents' returns counts, as it is, for every agent.

    Args:
        task_space: a product of one space for each agent, in the order of their places.
        seed: see ``Curriculum``; specs get one each that follows from it.
        random_start_tasks: see ``ProductCurriculum``.
        curricula: ``{"algorithm": name, "params": {...}}``, of which each agent gets one; or a list of one such spec,
            or curriculum, for each agent.
        possible_agents: the names of all agents, in the order of their places.
    """

    def __init__(
        self,
        task_space: TaskSpace,
        *,
        curricula: Mapping[str, Any] | Sequence[CurriculumSpec],
        possible_agents: Sequence[str],
        seed: int | None = None,
        random_start_tasks: int = 0,
    ) -> None:
        self.possible_agents = checked_agents(possible_agents)
        count = len(self.possible_agents)
        spaces = components(task_space, count, f"{count} spaces, one for each agent")
        given = [curricula] * count if isinstance(curricula, Mapping) else list(curricula)
        if len(given) != count:
            raise ValueError(f"curricula: expected {count}, one for each agent, got {len(given)}")
        inner = [
            build(each, space, seed, place, f"curricula[{place}]")
            for place, (each, space) in enumerate(zip(given, spaces, strict=True))
        ]
        super().__init__(task_space, inner, seed=seed, random_start_tasks=random_start_tasks)

    def update_on_episodes(self, batch: EpisodeBatch) -> None:
        """Take n finished episodes: agent i's part in them goes to curriculum i.

        Raises ValueError for an agent that isn't possible; then nothing has changed.
        """
        returns = returns_by_agent(batch, self.possible_agents)
        for place, (each, part) in enumerate(zip(self.inner, self.split(batch.tasks), strict=True)):
            own = batch.episode_returns if returns is None else returns[:, place]
            rows = np.flatnonzero(~np.isnan(own))
            each.update_on_episodes(select(batch, part, rows, own[rows]))
        self.num_episodes += len(batch)

    def custom_update(self, **metrics: Any) -> Mapping[str, np.ndarray] | None:
        """Pass an update on to the curriculum of ``agent``, one of the possible agents; the first where it is missing.

        ``tasks``, where there are any, are encoded tasks of the product; the inner curriculum gets its component.
        """
        agent = metrics.pop("agent", self.possible_agents[0])
        if agent not in self.possible_agents:
            raise ValueError(f"agent: expected one of {', '.join(self.possible_agents)}, got {agent!r}")
        return self._update_inner(self.possible_agents.index(agent), metrics)
