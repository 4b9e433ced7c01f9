"""PettingZoo's Pursuit as a family of tasks: the number of evaders that four pursuers have to catch."""

from __future__ import annotations

from typing import Any

import pettingzoo

from syllabus_client import PettingZooTaskWrapper

EVADERS = (1, 2, 4, 8)


class Pursuit(PettingZooTaskWrapper[str, Any, int]):
    """Pursuit on 10 by 10 squares, of as many evaders as the task says; complete when all are caught."""

    def __init__(self) -> None:
        super().__init__(self._make(EVADERS[0]))

    @staticmethod
    def _make(evaders: int) -> Any:
        return pettingzoo.make(
            "parallel",
            "sisl/pursuit-v5",
            n_pursuers=4,
            n_evaders=evaders,
            x_size=10,
            y_size=10,
            max_cycles=40,
            surround=False,
            n_catch=1,
        )

    def change_task(self, new_task: int) -> None:
        self.env.close()
        self.env = self._make(new_task)
        self.task = new_task

    def step(self, actions: dict[str, int]) -> Any:
        observations, rewards, terminations, truncations, infos = super().step(actions)
        for agent, info in infos.items():
            info["task_completion"] = float(terminations[agent])
        return observations, rewards, terminations, truncations, infos
