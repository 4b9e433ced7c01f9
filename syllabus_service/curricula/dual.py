"""A curriculum over environments and one over opponents, played together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from syllabus_client.task_spaces import TaskSpace
from syllabus_service.curricula.batch import EpisodeBatch
from syllabus_service.curricula.product_curriculum import CurriculumSpec, ProductCurriculum, build, components


class Dual(ProductCurriculum):
    """A task is a pair: the environment's task, from one curriculum, and the opponent, from another.

    Both learn from every episode: each takes it as an episode of its own component, with the learner's return, length
    and progress. Agents are added to, and had from, the opponents' curriculum; while that has none, draws are empty.

    Args:
        task_space: a product of two spaces: environments, opponents.
        seed: see ``Curriculum``; specs get one each that follows from it.
        random_start_tasks: see ``ProductCurriculum``.
        env_curriculum: ``{"algorithm": name, "params": {...}}``, or a curriculum on the first component.
        agent_curriculum: the same for the second component, such as a self-play curriculum.

    Example:
        >>> from syllabus_client.task_spaces import TupleTaskSpace
        >>> dual = Dual(
        ...     TupleTaskSpace([["maze", "field"], 8]),
        ...     seed=1,
        ...     env_curriculum={"algorithm": "domain_randomization"},
        ...     agent_curriculum={"algorithm": "fictitious_self_play"},
        ... )
        >>> len(dual.sample(3)), dual.add_agent(b"parameters"), len(dual.sample(3))
        (0, 0, 3)
    """

    def __init__(
        self,
        task_space: TaskSpace,
        *,
        env_curriculum: CurriculumSpec,
        agent_curriculum: CurriculumSpec,
        seed: int | None = None,
        random_start_tasks: int = 0,
    ) -> None:
        environments, opponents = components(task_space, 2, "two spaces, environments and opponents")
        inner = (
            build(env_curriculum, environments, seed, 0, "env_curriculum"),
            build(agent_curriculum, opponents, seed, 1, "agent_curriculum"),
        )
        super().__init__(task_space, inner, seed=seed, random_start_tasks=random_start_tasks)

    def update_on_episodes(self, batch: EpisodeBatch) -> None:
        """Take n finished episodes: both inner curricula do."""
        self.num_episodes += len(batch)
        for each, part in zip(self.inner, self.split(batch.tasks), strict=True):
            each.update_on_episodes(replace(batch, tasks=part))

    def custom_update(self, **metrics: Any) -> Mapping[str, np.ndarray] | None:
        """Pass an update on to the inner curriculum ``to``: "env" (where it is missing) or "agent".

        ``tasks``, where there are any, are encoded tasks of the product; the inner curriculum gets its component.
        """
        to = metrics.pop("to", "env")
        if to not in ("env", "agent"):
            raise ValueError(f"to: expected env or agent, got {to!r}")
        return self._update_inner(0 if to == "env" else 1, metrics)

    @property
    def stores_agents(self) -> bool:
        """Whether the opponents' curriculum does."""
        return getattr(self.inner[1], "stores_agents", False)

    def add_agent(self, agent: bytes) -> int:
        """Store an agent with the opponents' curriculum; return its id. Raises ValueError where that takes none."""
        return self._opponents("add_agent")(agent)

    def check_agent(self, agent: bytes) -> None:
        """Raise as ``add_agent`` would."""
        self._opponents("check_agent")(agent)

    def get_agent(self, agent_id: int) -> bytes:
        """The bytes of an agent. Raises ValueError for an id that was never added, or is kept no more."""
        return self._opponents("get_agent")(agent_id)

    def _opponents(self, method: str) -> Any:
        found = getattr(self.inner[1], method, None)
        if found is None:
            raise ValueError(f"agent_curriculum: {type(self.inner[1]).__name__} stores no agents")
        return found
