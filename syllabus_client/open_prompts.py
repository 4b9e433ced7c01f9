"""OpenPrompts: which assignment each reported rollout of a prompt belongs to."""

from __future__ import annotations

import collections

import numpy as np


class OpenPrompts:
    """Prompts that were drawn, and the groups of rollouts that are being reported of them.

    The first rollout of a group ends the oldest assignment of its prompt; the others of the group end none.

    Args:
        group_size: rollouts in a group.
    """

    def __init__(self, group_size: int) -> None:
        self._group_size = group_size
        self._ids: dict[int, collections.deque[int]] = {}
        self._missing: collections.Counter[int] = collections.Counter()  # rollouts of groups that have begun

    def add(self, prompts: list[int], ids: list[int]) -> None:
        """Note prompts that were drawn, and their assignments."""
        for prompt, assignment in zip(prompts, ids, strict=True):
            if assignment:  # 0: a repeated task, which nobody holds
                self._ids.setdefault(prompt, collections.deque()).append(assignment)

    def take(self, indices: np.ndarray) -> np.ndarray:
        """uint64 (n,): the assignments that rollouts of these prompts end, 0 for those that end none."""
        ended = np.zeros(len(indices), np.uint64)
        for row, prompt in enumerate(indices.tolist()):
            if self._missing[prompt] > 0:
                self._missing[prompt] -= 1
            elif prompt in self._ids:
                ended[row] = self._ids[prompt].popleft()
                self._missing[prompt] = self._group_size - 1
                if not self._ids[prompt]:
                    del self._ids[prompt]
            if not self._missing[prompt]:
                del self._missing[prompt]
        return ended

    def clear(self) -> list[int]:
        """Forget all; the assignments that had not ended."""
        left = [assignment for ids in self._ids.values() for assignment in ids]
        self._ids.clear()
        self._missing.clear()
        return left
