"""Task spaces from gymnasium spaces and plain values."""

from __future__ import annotations

from typing import Any

from syllabus_client.task_spaces.base import TaskSpace, is_gymnasium
from syllabus_client.task_spaces.box import BoxTaskSpace
from syllabus_client.task_spaces.discrete import DiscreteTaskSpace
from syllabus_client.task_spaces.multi_discrete import MultiDiscreteTaskSpace
from syllabus_client.task_spaces.product import TupleTaskSpace


def task_space(value: Any) -> TaskSpace:
    """The task space that ``value`` stands for.

    | value | space |
    |---|---|
    | a TaskSpace | itself |
    | an int n | the integers 0..n-1 |
    | a range | its integers |
    | a list | a finite set of these tasks |
    | a tuple | the product of the spaces that its elements stand for |
    | gymnasium Discrete, MultiDiscrete or MultiBinary of one dimension, Box, Tuple | its tasks |

    Raises TypeError for anything else, and what the spaces' constructors raise.
    """
    if isinstance(value, TaskSpace):
        return value
    if is_gymnasium(value):
        return _from_gymnasium(value)
    if isinstance(value, tuple):
        return TupleTaskSpace(value)
    return DiscreteTaskSpace(value)


def _from_gymnasium(space: Any) -> TaskSpace:
    from gymnasium import spaces

    if isinstance(space, spaces.Discrete):
        return DiscreteTaskSpace(space)
    if isinstance(space, spaces.Box):
        return BoxTaskSpace(space)
    if isinstance(space, spaces.MultiDiscrete) and space.nvec.ndim == 1:
        firsts = space.start.tolist()
        sizes = space.nvec.tolist()
        return MultiDiscreteTaskSpace(
            [range(first, first + size) for first, size in zip(firsts, sizes, strict=True)], "tuple"
        )
    if isinstance(space, spaces.MultiBinary) and len(space.shape) == 1:
        return MultiDiscreteTaskSpace([2] * space.shape[0], "tuple")
    if isinstance(space, spaces.Tuple):
        return TupleTaskSpace(space.spaces)
    raise TypeError(f"expected a Discrete, MultiDiscrete or MultiBinary (1-D), Box or Tuple space, got {space}")
