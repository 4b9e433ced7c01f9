"""Robust prioritized level replay: train on replays only, and just score what is new."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from syllabus_service.curricula.batch import EVALUATE, TRAIN, Draw
from syllabus_service.curricula.prioritized_level_replay import PrioritizedLevelReplay


class RobustPrioritizedLevelReplay(PrioritizedLevelReplay):
    """PLR-perp (Jiang et al., arXiv 2110.02439, algorithm 2): prioritized level replay without new tasks' gradients.

    A task without a score is handed out with the purpose EVALUATE: the learner must not train on the episode, which
    only scores the task. A task with a score is handed out with the purpose TRAIN. Otherwise it is
    ``PrioritizedLevelReplay``, parameters included; the ``fixed`` schedule with a ``replay_prob`` and a ``rho`` below 1
    is the paper's.
    """

    def draw(self, k: int = 1) -> Draw:
        """Draw up to k tasks with their probabilities and purposes."""
        drawn = super().draw(k)
        purposes = np.where(self.has_score(drawn.tasks), TRAIN, EVALUATE).astype(np.uint8)
        return replace(drawn, purposes=purposes)
