"""The queue of tasks: first in, first out, none lost and none twice."""

from __future__ import annotations

from collections import deque

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from syllabus_client.task_spaces import BoxTaskSpace, DiscreteTaskSpace
from syllabus_service.curricula import InvalidParamsError, create
from syllabus_service.curricula.task_queue import TaskQueue

SPACE = DiscreteTaskSpace(["a", "b", "c", "d"])


def manual(space=SPACE, **params):
    return create("manual", space, params, seed=0)


def test_a_draw_that_asks_for_more_than_is_queued_takes_all_and_loses_none():  # known failures, line 14
    curriculum = manual(tasks=["c", "a"])
    assert curriculum.sample(3).tolist() == [2, 0]
    assert curriculum.sample(3).tolist() == []
    curriculum.custom_update(tasks=[1, 1, 3])
    assert curriculum.sample(2).tolist() == [1, 1]
    assert curriculum.sample(2).tolist() == [3]


def test_abandoned_tasks_are_run_again_first_and_in_their_order():
    curriculum = manual(tasks=["a", "b", "c", "d"])
    drawn = curriculum.sample(3)
    curriculum.on_abandoned(drawn[1:])
    assert curriculum.queue.tolist() == [1, 2, 3]
    assert curriculum.sample(4).tolist() == [1, 2, 3]


def test_the_list_is_repeated_as_a_whole():
    assert manual(tasks=["a", "b"], repeat=3).sample(10).tolist() == [0, 1, 0, 1, 0, 1]


@pytest.mark.parametrize(
    ("update", "error"),
    [
        ({"tasks": [0, 4]}, r"tasks\[1\].*4"),
        ({"tasks": [0, -1]}, r"tasks\[1\]"),
        ({"tasks": [0.5]}, r"tasks\[0\]"),
        ({"tasks": [[0], [1]]}, "tasks.*shape"),
        ({"tasks": [[0], [1, 2]]}, "tasks"),
        ({"tasks": ["a"]}, r"tasks\[0\]"),
        ({"tasks": 3}, "tasks"),
        ({"tasks": [0, 1, 2]}, "at most 2 more"),
        ({}, "expected tasks"),
        ({"tasks": [0], "priority": 1}, "priority"),
    ],
)
def test_an_update_that_cannot_be_queued_is_refused_and_queues_nothing(update, error):
    curriculum = manual(tasks=["c"], max_queued=3)
    with pytest.raises(ValueError, match=error):
        curriculum.custom_update(**update)
    assert curriculum.queue.tolist() == [2]


@pytest.mark.parametrize(
    ("params", "error"),
    [
        ({"tasks": ["a", "x"]}, "tasks.*'x'"),
        ({"repeat": 0}, "repeat"),
        ({"max_queued": 0}, "max_queued"),
        ({"tasks": ["a"], "repeat": 5, "max_queued": 4}, "tasks"),
    ],
)
def test_parameters_that_make_no_queue_are_refused_by_name(params, error):
    with pytest.raises(InvalidParamsError, match=error):
        manual(**params)


def test_arrays_are_queued_as_they_are():
    curriculum = manual(BoxTaskSpace([0.0, 0.0], 1.0), tasks=[[0.25, 0.5]])
    curriculum.custom_update(tasks=[[1, 0], [0.5, 0.5]])
    assert curriculum.sample(5).tolist() == [[0.25, 0.5], [1.0, 0.0], [0.5, 0.5]]


def test_a_warm_up_task_that_is_abandoned_is_not_queued():
    curriculum = manual(tasks=["a"], random_start_tasks=2)
    warm = curriculum.sample(4)
    curriculum.update_on_episode(0.0, 1, warm[0], 0.0)
    curriculum.update_on_episode(0.0, 1, warm[1], 0.0)
    assert curriculum.sample(3).tolist() == [0]
    curriculum.on_abandoned(np.concatenate([warm[2:], [0]]))
    assert curriculum.queue.tolist() == [0]
    assert len(curriculum.warm_up_tasks) == 0


@given(st.lists(st.tuples(st.sampled_from(["back", "front", "pop"]), st.integers(0, 60)), max_size=60))
@settings(max_examples=60, deadline=None)
def test_the_queue_does_what_a_deque_does(operations):
    queue, model, number = TaskQueue(np.empty((0, 2))), deque(), 0
    for operation, n in operations:
        if operation == "pop":
            expected = [model.popleft() for _ in range(min(n, len(model)))]
            assert queue.pop(n).tolist() == expected
        else:
            rows = [[float(number + i), 0.5] for i in range(n)]
            number += n
            if operation == "back":
                queue.push_back(np.array(rows).reshape(-1, 2))
                model.extend(rows)
            else:
                queue.push_front(np.array(rows).reshape(-1, 2))
                model.extendleft(reversed(rows))
        assert len(queue) == len(model)
        assert queue.to_array().tolist() == list(model)


def test_the_queue_gives_its_memory_back():
    queue = TaskQueue(np.arange(100_000))
    for _ in range(60):
        queue.pop(2000)
    assert len(queue) == 0
    assert len(queue._rows) <= 4096
