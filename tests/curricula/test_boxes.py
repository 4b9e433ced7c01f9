"""Curricula over boxes: the one that grows with successes, and the one that moves in a straight line."""

from __future__ import annotations

import numpy as np
import pytest

from syllabus_client.task_spaces import BoxTaskSpace, DiscreteTaskSpace
from syllabus_service.curricula import InvalidParamsError, create

RANGE = BoxTaskSpace([-1.0, -1.0], [1.0, 1.0])
CUBE = BoxTaskSpace([0.0, -4.0, 10.0], [1.0, 4.0, 12.0])


def growing(space, **params):
    return create("expanding_box", space, params, seed=0)


def succeed(curriculum, n, progress=1.0, env_id=0):
    for _ in range(n):
        curriculum.update_on_episode(0.0, 1, curriculum.sample(1)[0], progress, env_id)


def test_the_range_grows_by_a_step_for_each_row_of_successes():
    curriculum = growing(RANGE, steps=4, required_successes=3)
    for expected in (0.25, 0.5, 0.75, 1.0, 1.0):
        assert curriculum.sample(2).tolist() == [[-expected, expected]] * 2
        assert (curriculum.low, curriculum.high) == (-expected, expected)
        succeed(curriculum, 3)


def test_a_failure_breaks_the_row():
    curriculum = growing(RANGE, required_successes=3, success_threshold=0.75)
    for progress in (1.0, 1.0, 0.75, 1.0, 1.0, 0.0, 0.9, 0.9):
        succeed(curriculum, 1, progress)
        assert curriculum.level == 1
    succeed(curriculum, 1, 0.9)
    assert curriculum.level == 2
    assert curriculum.consecutive_successes == 0


def test_progress_that_names_no_environment_is_a_result():
    curriculum = growing(RANGE, required_successes=2)
    for progress, level in ((1.0, 1), (0.0, 1), (1.0, 1), (True, 2)):
        curriculum.update_task_progress(curriculum.sample(1)[0], progress)
        assert curriculum.level == level


def test_a_success_on_the_way_counts_once_and_at_once():
    curriculum = growing(RANGE, required_successes=10)
    task = curriculum.sample(1)[0]
    for progress, successes in ((0.3, 0), (0.9, 1), (1.0, 1)):
        curriculum.update_task_progress(task, progress, env_id=4)
        assert curriculum.consecutive_successes == successes
    curriculum.update_on_episode(0.0, 5, task, 1.0, env_id=4)
    assert curriculum.consecutive_successes == 1
    curriculum.update_on_episode(0.0, 5, task, 1.0, env_id=4)
    assert curriculum.consecutive_successes == 2
    assert curriculum.early_successes == {}


def test_a_box_grows_in_any_number_of_dimensions():
    curriculum = growing(CUBE, steps=2, required_successes=1)
    points = curriculum.sample(500)
    assert points.shape == (500, 3)
    assert curriculum.low.tolist() == [0.25, -2.0, 10.5]
    assert curriculum.high.tolist() == [0.75, 2.0, 11.5]
    assert (points >= curriculum.low).all()
    assert (points <= curriculum.high).all()
    assert np.abs(points.mean(axis=0) - [0.5, 0.0, 11.0]).max() < 0.2
    succeed(curriculum, 1)
    assert curriculum.low.tolist() == CUBE.low.tolist()
    assert curriculum.high.tolist() == CUBE.high.tolist()
    ranges = growing(BoxTaskSpace([[0.0, 0.0], [0.0, 0.0]], [[2.0, 4.0], [2.0, 4.0]]), steps=2)
    assert ranges.sample(1).tolist() == [[[0.5, 1.0], [1.5, 3.0]]]


def test_two_dimensional_points_are_had_by_asking():
    curriculum = growing(RANGE, tasks="point")
    points = curriculum.sample(300)
    assert np.abs(points).max() <= 0.2
    assert len(np.unique(points, axis=0)) == 300


def test_integers_are_drawn_evenly_from_the_box():
    curriculum = growing(BoxTaskSpace(np.int64([0]), np.int64([10])), steps=5, required_successes=1)
    assert set(curriculum.sample(200).ravel().tolist()) == {4, 5, 6}
    succeed(curriculum, 1)
    counts = np.bincount(curriculum.sample(5000).ravel())
    assert set(np.flatnonzero(counts)) == {3, 4, 5, 6, 7}
    assert np.abs(counts[3:] - 1000).max() < 6 * np.sqrt(1000)
    narrow = growing(BoxTaskSpace(np.int64([0]), np.int64([1])))
    assert set(narrow.sample(50).ravel().tolist()) <= {0, 1}


def test_what_is_handed_out_is_no_live_state():
    curriculum = growing(RANGE)
    curriculum.sample(1)[...] = 9.0
    curriculum.low[...] = 9.0
    assert curriculum.sample(1).tolist() == [[-0.2, 0.2]]


@pytest.mark.parametrize(
    ("space", "params", "field"),
    [
        (DiscreteTaskSpace(3), {}, "task_space"),
        (RANGE, {"steps": 0}, "steps"),
        (RANGE, {"required_successes": 0}, "required_successes"),
        (RANGE, {"success_threshold": 2}, "success_threshold"),
        (RANGE, {"tasks": "line"}, "tasks"),
        (CUBE, {"tasks": "range"}, "tasks"),
    ],
)
def test_boxes_that_cannot_grow_are_refused_by_name(space, params, field):
    with pytest.raises(InvalidParamsError, match=field):
        growing(space, **params)


def annealing(space, **params):
    return create("simulated_annealing", space, params, seed=0)


def test_the_task_moves_in_a_straight_line_and_stays_at_its_end():
    curriculum = annealing(RANGE, start_values=[-1.0, 0.0], end_values=[1.0, 0.5], total_steps=100)
    for length, expected in (
        (0, [-1.0, 0.0]),
        (25, [-0.5, 0.125]),
        (50, [0.5, 0.375]),
        (25, [1.0, 0.5]),
        (9, [1.0, 0.5]),
    ):
        curriculum.update_on_episode(0.0, length, curriculum.sample(1)[0], 0.0)
        assert curriculum.sample(2).tolist() == [expected] * 2


def test_each_element_may_take_its_own_time():
    curriculum = annealing(CUBE, start_values=CUBE.low, end_values=CUBE.high, total_steps=[10, 20, 40])
    curriculum.update_on_episode(0.0, 10, curriculum.sample(1)[0], 0.0)
    assert curriculum.sample(1).tolist() == [[1.0, 0.0, 10.5]]


def test_both_ends_are_reached_exactly_whatever_the_dtype():
    space = BoxTaskSpace(np.float32([0.1]), np.float32([0.7]))
    curriculum = annealing(space, start_values=[0.1], end_values=[0.7], total_steps=3)
    assert curriculum.sample(1).tobytes() == space.low.tobytes()
    curriculum.update_on_episode(0.0, 3, curriculum.sample(1)[0], 0.0)
    assert curriculum.sample(1).tobytes() == space.high.tobytes()
    integers = annealing(BoxTaskSpace(0, 9, dtype=np.int16), start_values=0, end_values=9, total_steps=2)
    integers.update_on_episode(0.0, 1, 0, 0.0)
    assert integers.sample(1).dtype == np.int16
    assert integers.sample(1).tolist() == [4]


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"start_values": [0.0, 0.0], "end_values": [0.0, 2.0], "total_steps": 1}, "end_values"),
        ({"start_values": [0.0] * 3, "end_values": [0.0, 1.0], "total_steps": 1}, "start_values"),
        ({"start_values": "x", "end_values": [0.0, 1.0], "total_steps": 1}, "start_values"),
        ({"start_values": 0.0, "end_values": 1.0, "total_steps": 0}, "total_steps"),
        ({"start_values": 0.0, "end_values": 1.0, "total_steps": [1, 2, 3]}, "total_steps"),
        ({"start_values": 0.0, "end_values": 1.0}, "total_steps"),
    ],
)
def test_lines_that_cannot_be_gone_are_refused_by_name(params, field):
    with pytest.raises(InvalidParamsError, match=field):
        annealing(RANGE, **params)


def test_a_line_needs_a_box():
    with pytest.raises(InvalidParamsError, match="BoxTaskSpace"):
        annealing(DiscreteTaskSpace(3), start_values=0, end_values=1, total_steps=5)
