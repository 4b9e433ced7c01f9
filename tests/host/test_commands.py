"""What a metrics batch must look like: each fault is refused with the field's name."""

from __future__ import annotations

import numpy as np
import pytest

from syllabus_client.task_spaces import DiscreteTaskSpace
from syllabus_client.wire import codec
from syllabus_client.wire import curriculum_pb2 as pb
from syllabus_service import commands as c
from syllabus_service.errors import InvalidArgument, RequestError
from syllabus_service.limits import Limits
from tests.host.driving import episodes

SPACE = DiscreteTaskSpace(10)
LIMITS = Limits(max_rows_per_batch=5, max_tasks_per_request=7, max_metrics=2)


def command(message: pb.MetricsBatch, session_id: str = "s", sequence: int = 1, acknowledged: int = 0) -> c.Command:
    return c.metrics_command(session_id, sequence, acknowledged, message, SPACE, LIMITS)


def batch(**changes: object) -> pb.MetricsBatch:
    """A valid batch of two episodes, with some of its tensors changed."""
    message = episodes([0, 0], tasks=[1, 2])
    for name, value in changes.items():
        getattr(message, name).CopyFrom(codec.to_tensor(np.asarray(value)))
    return pb.MetricsBatch(episodes=message)


def test_a_valid_batch_is_decoded_into_columns():
    decoded = command(batch(episode_return=[0.5, -0.5])).body
    assert decoded.episodes.tasks.tolist() == [1, 2]
    assert decoded.episodes.columns["episode_returns"].tolist() == [0.5, -0.5]


@pytest.mark.parametrize(
    ("field", "value", "where"),
    [
        ("episode_return", [1.0, np.nan], "batch.episodes.episode_return[1]"),
        ("episode_return", [np.inf, 1.0], "batch.episodes.episode_return[0]"),
        ("episode_return", np.ones(2, np.float32), "batch.episodes.episode_return.dtype"),
        ("episode_return", np.ones(3), "batch.episodes.episode_return.shape"),
        ("episode_return", np.ones((2, 1)), "batch.episodes.episode_return.shape"),
        ("length", [1, -1], "batch.episodes.length[1]"),
        ("length", [1.0, 1.0], "batch.episodes.length.dtype"),
        ("progress", [0.0, 1.5], "batch.episodes.progress[1]"),
        ("progress", [np.nan, 1.0], "batch.episodes.progress[0]"),
        ("env_id", [-3, 1], "batch.episodes.env_id[0]"),
        ("task", [1, 10], "batch.episodes.task[1]"),
        ("task", [1.0, 2.0], "batch.episodes.task.dtype"),
        ("assignment_id", np.array([1, 2]), "batch.episodes.assignment_id.dtype"),
    ],
)
def test_a_malformed_column_is_named(field, value, where):
    with pytest.raises(InvalidArgument) as refusal:
        command(batch(**{field: value}))
    assert refusal.value.field == where


def test_a_tensor_whose_bytes_do_not_fit_its_shape_is_named():
    message = batch()
    message.episodes.length.data = b"12345"
    with pytest.raises(
        InvalidArgument, match=r"batch.episodes.length.data: expected 16 bytes for shape \[2\] of int64"
    ):
        command(message)


def test_an_episode_without_task_and_assignment_is_refused():
    message = episodes([7, 0])
    with pytest.raises(InvalidArgument, match=r"assignment_id\[1\]"):
        command(pb.MetricsBatch(episodes=message))


@pytest.mark.parametrize(
    ("message", "field"),
    [
        (pb.MetricsBatch(num_tasks=8), "num_tasks"),
        (pb.MetricsBatch(num_tasks=1, close=True), "num_tasks"),
        (pb.MetricsBatch(episodes=episodes([0] * 6, tasks=[0] * 6)), "batch.episodes"),
        (pb.MetricsBatch(released=codec.to_tensor(np.zeros(6, np.uint64))), "batch.released"),
        (pb.MetricsBatch(released=codec.to_tensor(np.zeros(2, np.int64))), "batch.released.dtype"),
        (pb.MetricsBatch(steps=pb.StepBatch()), "batch.steps"),
    ],
)
def test_counts_beyond_their_bounds_are_refused(message, field):
    with pytest.raises(InvalidArgument) as refusal:
        command(message)
    assert refusal.value.field == field


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"session_id": ""}, "session_id"),
        ({"session_id": "a b"}, "session_id"),
        ({"session_id": "x" * 65}, "session_id"),
        ({"sequence": 0}, "sequence"),
        ({"sequence": 1 << 63}, "sequence"),
        ({"acknowledged": 1}, "acknowledged_sequence"),
    ],
)
def test_a_malformed_place_in_the_session_is_refused(changes, field):
    with pytest.raises(RequestError) as refusal:
        command(pb.MetricsBatch(), **changes)
    assert refusal.value.field == field


def test_more_names_of_metrics_than_allowed_are_refused():
    message = batch()
    for name in ("a", "b", "c"):
        message.episodes.metrics[name].CopyFrom(codec.to_tensor(np.zeros(2)))
    with pytest.raises(InvalidArgument, match="at most 2 names, got 3"):
        command(message)


def test_a_command_read_back_from_its_record_is_the_same_command():
    original = command(batch(), sequence=5, acknowledged=3)
    read = c.Command.from_record(original.to_record(), SPACE)
    assert (read.session_id, read.sequence, read.acknowledged) == ("s", 5, 3)
    assert read.payload == original.payload
    assert read.to_record() == original.to_record()


def test_whole_numbers_of_a_custom_update_arrive_as_integers():
    request = pb.CustomUpdateRequest(session_id="s", sequence=1)
    request.values.update({"count": 3, "share": 0.5, "nested": {"list": [1, 2.5]}, "name": "x", "flag": True})
    values = c.custom_update_command(request, LIMITS).body.values
    assert values == {"count": 3, "share": 0.5, "nested": {"list": [1, 2.5]}, "name": "x", "flag": True}
    assert isinstance(values["count"], int)


def test_an_array_without_dimensions_arrives_as_a_number():
    request = pb.CustomUpdateRequest(session_id="s", sequence=1)
    request.arrays["stage"].CopyFrom(codec.to_tensor(2))
    values = c.custom_update_command(request, LIMITS).body.values
    assert values == {"stage": 2}
    assert isinstance(values["stage"], int)


def test_a_value_that_is_not_finite_is_refused():
    request = pb.CustomUpdateRequest(session_id="s", sequence=1)
    request.values.update({"deep": {"list": [1.0, float("inf")]}})
    with pytest.raises(InvalidArgument, match="values: expected finite numbers"):
        c.custom_update_command(request, LIMITS)


def test_a_name_that_is_in_arrays_and_in_values_is_refused():
    request = pb.CustomUpdateRequest(session_id="s", sequence=1)
    request.values.update({"tasks": 3})
    request.arrays["tasks"].CopyFrom(codec.to_tensor(np.zeros(1)))
    with pytest.raises(InvalidArgument, match="'tasks'"):
        c.custom_update_command(request, LIMITS)
