"""One entry of the conformance suite: a curriculum, how it is built, and which commands it may be sent."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from syllabus_client.task_spaces import TaskSpace
from syllabus_service.curricula import Curriculum, create


@dataclass(frozen=True)
class Call:
    """A call of a method, recorded so that it can be made on several instances."""

    method: str
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)

    def on(self, curriculum: Curriculum) -> Any:
        return getattr(curriculum, self.method)(*self.args, **self.kwargs)


Command = Callable[[Curriculum, np.random.Generator], Call]
"""Makes a valid call for a curriculum in its present state (which it must not change)."""


@dataclass(frozen=True)
class Case:
    """One way of using a curriculum, to which every conformance test applies.

    A family adds a case by listing it in its module ``cases_*.py``. Nothing else is needed.
    """

    id: str
    """Unique; the parametrised tests are named by it."""
    curriculum: str
    """Its registered name."""
    task_space: TaskSpace
    """Its tasks: small, so that draws cover it; at most 8 where it has a distribution."""
    params: Mapping[str, Any] = field(default_factory=dict)
    commands: tuple[Command, ...] = ()
    """Further valid commands: custom updates, step batches, ``add_agent``. Draws, episodes, task progress and abandoned
    tasks are made by the suite."""
    setup: tuple[Call, ...] = ()
    """Calls that make a new curriculum ready to draw, such as adding a first agent."""
    tasks: Callable[[Curriculum, int, np.random.Generator], np.ndarray] | None = None
    """k encoded tasks that episodes may be of; None: any of the space."""
    episode_metrics: Callable[[int, np.random.Generator], dict[str, np.ndarray]] | None = None
    """Named scalars that come with n episodes."""
    has_distribution: bool = True
    """Whether ``distribution()`` answers, and draws of one task follow it."""
    warms_up: bool = True
    """Whether it takes ``random_start_tasks``, and then draws uniformly."""
    short: bool = False
    """Whether it may be short of tasks, and then draws fewer than were asked for."""

    def new(self, seed: int = 0, **params: Any) -> Curriculum:
        """A new curriculum, set up."""
        curriculum = create(self.curriculum, self.task_space, {**self.params, **params}, seed)
        for call in self.setup:
            call.on(curriculum)
        return curriculum

    def episode_tasks(self, curriculum: Curriculum, k: int, rng: np.random.Generator) -> np.ndarray:
        return self.task_space.sample(k, rng) if self.tasks is None else self.tasks(curriculum, k, rng)
