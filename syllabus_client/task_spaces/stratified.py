"""A finite set of tasks in groups."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Sequence
from typing import Any, Self

import numpy as np

from syllabus_client.task_spaces.base import TaskNotInSpaceError, checked_names
from syllabus_client.task_spaces.discrete import DiscreteTaskSpace


class StratifiedDiscreteTaskSpace(DiscreteTaskSpace):
    """A finite set of tasks, each in one stratum, encoded as ids.

    Args:
        tasks: the tasks, as of ``DiscreteTaskSpace``. Without ``strata``: a list of groups of tasks; then the tasks are
            those of the groups, one after the other.
        strata: the stratum of each task, integers (N,) from 0, none of them empty; or a list of groups of tasks, in
            which each task is once.
        task_names: one name for each task.

    Attributes:
        stratum: int64 (N,): the stratum of each task, by id; read-only.
        num_strata: number of strata.

    Raises ValueError, naming ``strata``, for a task in no stratum or in two, and for an empty stratum. Cost O(N).

    Example:
        >>> StratifiedDiscreteTaskSpace([["a", "b"], ["c"]]).stratum.tolist()
        [0, 0, 1]
        >>> StratifiedDiscreteTaskSpace(4, [[0, 2], [1, 3]]).stratum.tolist()
        [0, 1, 0, 1]
    """

    def __init__(
        self, tasks: Any, strata: Sequence[Any] | np.ndarray | None = None, *, task_names: Iterable[str] | None = None
    ) -> None:
        if strata is None:
            groups = [list(group) for group in _checked_groups(tasks)]
            tasks = [task for group in groups for task in group]
            strata = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
        elif isinstance(tasks, DiscreteTaskSpace):
            task_names = tasks.task_names if task_names is None else task_names
            tasks = tasks.tasks
        super().__init__(tasks)
        self.task_names = checked_names(task_names, self.num_tasks)
        if not isinstance(strata, np.ndarray) and any(isinstance(group, (list, tuple, range)) for group in strata):
            strata = self._from_groups(_checked_groups(strata))
        self.stratum = _checked_stratum(np.asarray(strata), self.num_tasks)
        self.num_strata = int(self.stratum.max()) + 1

    def _from_groups(self, groups: Sequence[Sequence[Any]]) -> np.ndarray:
        universe = DiscreteTaskSpace(self.tasks)
        stratum = np.full(sum(len(group) for group in groups), -1)
        if len(stratum) != self.num_tasks:
            raise ValueError(f"strata: expected each of {self.num_tasks} tasks once, got {len(stratum)} tasks")
        for i, group in enumerate(groups):
            try:
                stratum[universe.encode_many(group)] = i
            except TaskNotInSpaceError as error:
                raise ValueError(f"strata[{i}]: {error}") from error
        if (missing := np.flatnonzero(stratum < 0)).size:
            raise ValueError(f"strata: task {universe.decode(missing[0])!r} is in no group")
        return stratum

    def _same_tasks(self, other: Self) -> bool:
        return super()._same_tasks(other) and np.array_equal(self.stratum, other.stratum)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._repr_tasks()}, {reprlib.repr(self.stratum.tolist())})"


def _checked_groups(groups: Any) -> Sequence[Sequence[Any]]:
    if not isinstance(groups, (list, tuple)) or not all(isinstance(group, (list, tuple, range)) for group in groups):
        raise ValueError("strata: expected a list of groups of tasks, or one integer for each task")
    if not all(groups):
        raise ValueError("strata: expected no empty group")
    return groups


def _checked_stratum(stratum: np.ndarray, num_tasks: int) -> np.ndarray:
    if stratum.shape != (num_tasks,) or stratum.dtype.kind not in "iu":
        raise ValueError(
            f"strata: expected {num_tasks} integers, one for each task, got {stratum.dtype} {stratum.shape}"
        )
    highest = int(stratum.max())
    if stratum.min() < 0 or highest >= num_tasks:
        raise ValueError(f"strata: expected numbers from 0, none left out, got {int(stratum.min())} to {highest}")
    if (empty := np.flatnonzero(np.bincount(stratum.astype(np.int64)) == 0)).size:
        raise ValueError(f"strata: expected no empty stratum, got no task in {int(empty[0])}")
    own = stratum.astype(np.int64, copy=True)
    own.flags.writeable = False
    return own
