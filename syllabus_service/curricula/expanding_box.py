"""A box around the middle of the space that grows with consecutive successes."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from syllabus_client.task_spaces import BoxTaskSpace, TaskSpace
from syllabus_service.curricula.base import Curriculum
from syllabus_service.curricula.batch import Draw

_MAX_EARLY_SUCCESSES = 65_536  # environments; beyond, a success on the way counts again at the end


class ExpandingBox(Curriculum):
    """Tasks from a box that starts small in the middle and grows as tasks are mastered. After Syllabus' ExpandingBox.

    With m the middle of the whole range, h half its width and L = ``steps``, the box at level l in 1..L is
    ``m - h l / L`` to ``m + h l / L``, in every dimension. It starts at level 1. An episode is a success when
    its progress was above ``success_threshold``, at its end or on the way (then it counts at once, and not again at its
    end); an episode that is none breaks the row. After ``required_successes`` in a row the level grows by one, up to L,
    which is the whole range, and the row starts again. A progress report that names no environment is a result of its
    own, as in Syllabus.

    Two kinds of tasks, by ``tasks``:

    - ``"range"``: the task is the box itself, and the environment draws within it. The space's shape is (2, ...): what
      is in row 0 are the lower ends, in row 1 the upper ends. The whole range is from ``low[0]`` to ``high[1]``.
    - ``"point"``: the task is a point drawn uniformly in the box, which is a box of the space, of any shape.

    Cost: O(size of a task) for each draw and each episode.

    Args:
        task_space: a BoxTaskSpace.
        steps: L, at least 1.
        success_threshold: in [0, 1].
        required_successes: at least 1.
        tasks: see above. None: "range" where the space's first dimension is 2, as in Syllabus, otherwise "point".
        seed, random_start_tasks: see ``Curriculum``.

    Attributes:
        level: l.
        consecutive_successes: successes in a row.
        low, high: the ends of the box: copies, of the shape of a point.
    """

    state_fields = ("level", "consecutive_successes", "early_successes")

    def __init__(
        self,
        task_space: TaskSpace,
        *,
        steps: int = 5,
        success_threshold: float = 0.75,
        required_successes: int = 10,
        tasks: Literal["range", "point"] | None = None,
        seed: int | None = None,
        random_start_tasks: int = 0,
    ) -> None:
        super().__init__(task_space, seed=seed, random_start_tasks=random_start_tasks)
        if not isinstance(task_space, BoxTaskSpace):
            raise TypeError(f"task_space: expected a BoxTaskSpace, got {type(task_space).__name__}")
        if steps < 1:
            raise ValueError(f"steps: expected at least 1, got {steps}")
        if not 0.0 <= success_threshold <= 1.0:
            raise ValueError(f"success_threshold: expected a number in [0, 1], got {success_threshold}")
        if required_successes < 1:
            raise ValueError(f"required_successes: expected at least 1, got {required_successes}")
        pairs = task_space.encoded_shape[:1] == (2,)
        if tasks not in (None, "range", "point"):
            raise ValueError(f"tasks: expected 'range' or 'point', got {tasks!r}")
        if tasks == "range" and not pairs:
            raise ValueError(f"tasks: a range needs a space of shape (2, ...), got {task_space.encoded_shape}")
        self._box = task_space
        self.hands_out_ranges = pairs if tasks is None else tasks == "range"
        self.steps = steps
        self.success_threshold = success_threshold
        self.required_successes = required_successes
        low, high = task_space.low, task_space.high
        self._ends = (low[0], high[1]) if self.hands_out_ranges else (low, high)
        self.level = 1
        self.consecutive_successes = 0
        self.early_successes: dict[str, str] = {}  # environment -> the task under way, whose success has been counted

    @property
    def low(self) -> np.ndarray:
        return self._box_ends()[0]

    @property
    def high(self) -> np.ndarray:
        return self._box_ends()[1]

    def _box_ends(self) -> tuple[np.ndarray, np.ndarray]:
        """float64: the lower and the upper ends of the box."""
        low, high = (np.array(end, dtype=np.float64) for end in self._ends)
        if self.level == self.steps:
            return low, high
        middle = low / 2 + high / 2  # not (low + high) / 2, which may overflow
        reach = (high / 2 - low / 2) * (self.level / self.steps)
        return np.asarray(middle - reach), np.asarray(middle + reach)

    def _draw(self, k: int) -> Draw:
        low, high = self._box_ends()
        if self.hands_out_ranges:
            return Draw(np.repeat(self._box.nearest(np.stack([low, high])[np.newaxis]), k, axis=0))
        share = self.rng.random((k, *self._box.encoded_shape))
        if self._box.encoded_dtype.kind in "iu":
            first = np.ceil(low)
            last = np.maximum(np.floor(high), first)  # a box between two integers holds none
            return Draw(self._box.nearest(first + np.floor(share * (last - first + 1.0))))
        return Draw(self._box.nearest((1.0 - share) * low + share * high))

    def update_on_episode(
        self, episode_return: float, length: int, task: Any, progress: float, env_id: int | None = None
    ) -> None:
        super().update_on_episode(episode_return, length, task, progress, env_id)
        if env_id is None or self.early_successes.pop(str(env_id), None) != _key(task):
            self._count(progress > self.success_threshold)

    def update_task_progress(self, task: Any, progress: float, env_id: int | None = None) -> None:
        success = progress > self.success_threshold
        if env_id is None:
            self._count(success)
        elif success and self.early_successes.get(str(env_id)) != _key(task):
            self._count(True)
            if len(self.early_successes) < _MAX_EARLY_SUCCESSES:
                self.early_successes[str(env_id)] = _key(task)

    def _count(self, success: bool) -> None:
        if self.level == self.steps:
            return
        self.consecutive_successes = self.consecutive_successes + 1 if success else 0
        if self.consecutive_successes == self.required_successes:
            self.level += 1
            self.consecutive_successes = 0


def _key(task: Any) -> str:
    return np.asarray(task).tobytes().hex()
