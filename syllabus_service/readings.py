"""What a curriculum's state looks like from outside: distributions and statistics as messages."""

from __future__ import annotations

import numpy as np

from syllabus_client.task_spaces import TaskSpace
from syllabus_client.wire import codec
from syllabus_client.wire import curriculum_pb2 as pb
from syllabus_service.curricula import Curriculum
from syllabus_service.errors import FailedPrecondition, InvalidArgument
from syllabus_service.statistics import EpisodeStatistics

MAX_TOLD_TASKS = 1 << 24
"""A distribution over more tasks than this is not told: it would be computed whole, at 8 bytes a task and more."""


def read_distribution(curriculum: Curriculum, position: int, top_n: int) -> pb.GetDistributionResponse:
    """The distribution, or its top_n tasks when not 0. Raises FailedPrecondition where there is none. O(N)."""
    count = curriculum.task_space.num_tasks
    if count is not None and count > MAX_TOLD_TASKS:
        raise FailedPrecondition(
            f"curriculum: it has {count} tasks, and a distribution over more than {MAX_TOLD_TASKS} is not told",
            field="curriculum",
        )
    try:
        probabilities = curriculum.distribution()
    except (TypeError, NotImplementedError) as error:
        raise FailedPrecondition(f"curriculum: {error}", field="curriculum") from error
    positive = probabilities[probabilities > 0]
    entropy = float(-(positive * np.log(positive)).sum())
    response = pb.GetDistributionResponse(
        entropy=entropy, effective_num_tasks=float(np.exp(entropy)), position=position
    )
    if top_n:
        top = top_tasks(probabilities, top_n)
        response.task.CopyFrom(codec.to_tensor(top))
        probabilities = probabilities[top]
    response.probability.CopyFrom(codec.to_tensor(probabilities))
    return response


def read_statistics(
    statistics: EpisodeStatistics, task_space: TaskSpace, position: int, request: pb.GetStatisticsRequest
) -> pb.GetStatisticsResponse:
    """Statistics of the tasks asked for, or of those that have an episode. Raises InvalidArgument. O(N)."""
    tasks = statistics.tasks_by_count(request.top_n)
    if request.HasField("task"):
        count = task_space.num_tasks
        if count is None:
            raise FailedPrecondition("task: the task space is not enumerable", field="task")
        try:
            tasks = codec.column(request.task, "task", np.int64)
        except codec.InvalidFieldError as error:
            raise InvalidArgument(str(error), field=error.field) from error
        if ((tasks < 0) | (tasks >= count)).any():
            raise InvalidArgument(f"task: expected ids from 0 to {count - 1}", field="task")
    response = pb.GetStatisticsResponse(position=position)
    fill_statistics(response.tasks, statistics.of_tasks(tasks), tasks)
    fill_statistics(response.total, statistics.total.rows(np.zeros(1, np.int64)))
    return response


def fill_statistics(
    message: pb.EpisodeStatistics, columns: dict[str, np.ndarray], tasks: np.ndarray | None = None
) -> None:
    """Put columns, named as the message's fields, into a message."""
    if tasks is not None:
        message.task.CopyFrom(codec.to_tensor(tasks))
    for name, column in columns.items():
        getattr(message, name).CopyFrom(codec.to_tensor(column))


def top_tasks(probabilities: np.ndarray, top_n: int) -> np.ndarray:
    """int64 (min(top_n, N),): the most probable tasks, most probable first, ties by id. O(N)."""
    candidates = np.arange(len(probabilities))
    if top_n < len(probabilities):
        border = np.partition(probabilities, -top_n)[-top_n]
        candidates = np.flatnonzero(probabilities >= border)
    return candidates[np.argsort(-probabilities[candidates], kind="stable")][:top_n]
