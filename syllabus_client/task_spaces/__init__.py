"""Task spaces: which tasks there are, and how each travels."""

from syllabus_client.task_spaces.base import TaskNotInSpaceError, TaskSpace
from syllabus_client.task_spaces.box import BoxTaskSpace
from syllabus_client.task_spaces.convert import task_space
from syllabus_client.task_spaces.discrete import DiscreteTaskSpace
from syllabus_client.task_spaces.multi_discrete import MultiDiscreteTaskSpace
from syllabus_client.task_spaces.product import TupleTaskSpace
from syllabus_client.task_spaces.stratified import StratifiedDiscreteTaskSpace

__all__ = [
    "BoxTaskSpace",
    "DiscreteTaskSpace",
    "MultiDiscreteTaskSpace",
    "StratifiedDiscreteTaskSpace",
    "TaskNotInSpaceError",
    "TaskSpace",
    "TupleTaskSpace",
    "task_space",
]
