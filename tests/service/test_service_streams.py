"""StreamMetrics over a real socket: order, pipelining, refusals, and what happens to everybody else."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import numpy as np
import pytest
from structlog.testing import capture_logs

from syllabus_client.task_spaces import DiscreteTaskSpace
from syllabus_client.wire import codec
from syllabus_client.wire import curriculum_pb2 as pb
from syllabus_service.curricula import Curriculum, EpisodeBatch
from syllabus_service.limits import Limits
from tests.service.serving import (
    TIMEOUT,
    Serving,
    Stream,
    bad_field,
    column,
    episodes,
    num_episodes,
    serving,
    status,
)


class LastTask(Curriculum):
    """Draws the task that was reported last, and raises on task 9."""

    state_fields = ("last",)

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.last = 0

    def _draw(self, k: int) -> np.ndarray:
        return np.full(k, self.last)

    def update_on_episodes(self, batch: EpisodeBatch) -> None:
        if (batch.tasks == 9).any():
            raise RuntimeError("nine is too many")
        self.last = int(batch.tasks[-1])


@pytest.fixture
def server() -> Iterator[Serving]:
    with serving(limits=Limits(max_unacknowledged_batches=4, max_sessions=5)) as running:
        running.host("maze", LastTask(DiscreteTaskSpace(10), seed=1))
        yield running


@pytest.fixture
def stream(server: Serving) -> Iterator[Stream]:
    opened = Stream(server.stub)
    yield opened
    opened.close()
    opened.call.cancel()


def test_opening_tells_the_curriculum_the_bounds_and_the_lease(stream: Stream) -> None:
    opened = stream.open()
    assert opened.curriculum.name == "maze"
    assert opened.curriculum.incarnation != 0
    assert (opened.applied_sequence, opened.lease.seconds, opened.limits.max_unacknowledged_batches) == (0, 120, 4)


def test_results_are_applied_before_the_draws_of_the_same_batch(stream: Stream) -> None:
    stream.open()
    for sequence, task in enumerate([3, 7, 1], 1):
        reply = stream.ask(sequence, pb.MetricsBatch(episodes=episodes([task]), num_tasks=2), sequence - 1)
        assert column(reply.tasks.task) == [task, task]


def test_pipelined_batches_are_answered_in_order(stream: Stream) -> None:
    stream.open()
    for sequence in range(1, 5):
        stream.send_batch(sequence, pb.MetricsBatch(episodes=episodes([sequence]), num_tasks=1))
    replies = [stream.receive().reply for _ in range(4)]
    assert [reply.sequence for reply in replies] == [1, 2, 3, 4]
    assert [column(reply.tasks.task) for reply in replies] == [[1], [2], [3], [4]]


def test_a_heartbeat_is_answered_in_its_place(stream: Stream) -> None:
    stream.open()
    stream.send_batch(1)
    stream.send(pb.StreamMetricsRequest(heartbeat=pb.Heartbeat()))
    stream.send_batch(2)
    assert [stream.receive().WhichOneof("message") for _ in range(3)] == ["reply", "heartbeat", "reply"]


def test_a_stream_closed_by_the_client_ends_when_everything_was_answered(stream: Stream) -> None:
    stream.open()
    for sequence in range(1, 4):
        stream.send_batch(sequence)
    stream.close()
    assert [response.reply.sequence for response in stream.call] == [1, 2, 3]
    assert stream.call.code() is grpc.StatusCode.OK


@pytest.mark.parametrize(
    ("batch", "code", "field"),
    [
        (pb.MetricsBatch(episodes=episodes([1], returns=[float("inf")])), "INVALID_ARGUMENT", "batch.episodes"),
        (pb.MetricsBatch(episodes=episodes([10])), "INVALID_ARGUMENT", "batch.episodes.task"),
        (pb.MetricsBatch(num_tasks=2**31), "INVALID_ARGUMENT", "num_tasks"),
        (pb.MetricsBatch(steps=pb.StepBatch()), "INVALID_ARGUMENT", "batch.steps"),
        (pb.MetricsBatch(released=pb.Tensor(shape=[-1])), "INVALID_ARGUMENT", "batch.released"),
    ],
)
def test_a_bad_batch_ends_its_stream_after_the_answers_before_it_and_harms_nobody_else(
    server: Serving, stream: Stream, batch: pb.MetricsBatch, code: str, field: str
) -> None:
    other = Stream(server.stub)
    other.open(session_id="other")
    stream.open()
    stream.send_batch(1, pb.MetricsBatch(episodes=episodes([5])))
    stream.send_batch(2, batch)
    stream.send_batch(3, pb.MetricsBatch(episodes=episodes([6])))
    assert stream.receive().reply.sequence == 1
    error = stream.error()
    assert status(error) == code
    assert bad_field(error).startswith(field)
    assert other.ask(1, pb.MetricsBatch(num_tasks=1)).sequence == 1
    assert num_episodes(server.stub) == {5: 1}
    again = Stream(server.stub)
    assert again.open().applied_sequence == 1
    for each in (other, again):
        each.close()


def test_a_sequence_gap_ends_the_stream(stream: Stream) -> None:
    stream.open()
    assert stream.ask(1).sequence == 1
    stream.send_batch(3)
    error = stream.error()
    assert (status(error), bad_field(error)) == ("FAILED_PRECONDITION", "sequence")


def test_a_batch_resent_on_a_new_stream_gets_its_first_answer_and_is_not_counted_again(
    server: Serving, stream: Stream
) -> None:
    stream.open()
    batch = pb.MetricsBatch(episodes=episodes([4, 4]), num_tasks=3)
    first = stream.ask(1, batch)
    stream.call.cancel()
    again = Stream(server.stub)
    assert again.open().applied_sequence == 1
    assert again.ask(1, batch) == first
    again.close()
    assert num_episodes(server.stub) == {4: 2}


def test_a_resent_sequence_with_another_content_is_refused(server: Serving, stream: Stream) -> None:
    stream.open()
    stream.ask(1, pb.MetricsBatch(episodes=episodes([4])))
    stream.send_batch(1, pb.MetricsBatch(episodes=episodes([5])))
    assert status(stream.error()) == "FAILED_PRECONDITION"
    assert num_episodes(server.stub) == {4: 1}


def test_of_two_streams_of_one_session_the_newer_is_served_and_the_older_aborted(
    server: Serving, stream: Stream
) -> None:
    stream.open()
    stream.ask(1)
    newer = Stream(server.stub)
    assert newer.open().applied_sequence == 1
    assert status(stream.error()) == "ABORTED"
    assert newer.ask(2).sequence == 2
    newer.close()


def test_a_stream_must_begin_with_open_and_open_only_once(server: Serving, stream: Stream) -> None:
    stream.send_batch(1)
    error = stream.error()
    assert (status(error), bad_field(error)) == ("INVALID_ARGUMENT", "open")
    twice = Stream(server.stub)
    twice.open()
    twice.send(pb.StreamMetricsRequest(open=pb.OpenSession(curriculum="maze", session_id="x")))
    assert (status(error := twice.error()), bad_field(error)) == ("INVALID_ARGUMENT", "open")


def test_a_message_without_contents_is_an_invalid_argument(stream: Stream) -> None:
    stream.open()
    stream.send(pb.StreamMetricsRequest())
    assert bad_field(stream.error()) == "message"


@pytest.mark.parametrize(
    ("opening", "code", "field"),
    [
        (pb.OpenSession(curriculum="nope", session_id="s"), "NOT_FOUND", "curriculum"),
        (pb.OpenSession(curriculum="maze", session_id="a b"), "INVALID_ARGUMENT", "open.session_id"),
        (pb.OpenSession(curriculum="maze", session_id="s", incarnation=1), "FAILED_PRECONDITION", "open.incarnation"),
    ],
)
def test_opening_what_is_not_there_says_what(stream: Stream, opening: pb.OpenSession, code: str, field: str) -> None:
    stream.send(pb.StreamMetricsRequest(open=opening))
    error = stream.error()
    assert (status(error), bad_field(error)) == (code, field)


def test_more_streams_than_sessions_allowed_are_refused_and_room_is_given_back(server: Serving) -> None:
    streams = [Stream(server.stub) for _ in range(5)]
    for number, each in enumerate(streams):
        each.open(session_id=f"s{number}")
    late = Stream(server.stub)
    late.send(pb.StreamMetricsRequest(open=pb.OpenSession(curriculum="maze", session_id="late")))
    assert status(late.error()) == "RESOURCE_EXHAUSTED"
    streams[0].close()
    assert list(streams[0].call) == []
    again = Stream(server.stub)
    again.open(session_id="late")
    for each in (*streams, again):
        each.close()


def test_a_client_that_never_reads_is_slowed_and_nothing_it_sent_is_dropped(server: Serving, stream: Stream) -> None:
    stream.open()
    for sequence in range(1, 101):  # far more than may be unanswered
        stream.send_batch(sequence, pb.MetricsBatch(episodes=episodes([2])), acknowledged=sequence - 1)
    assert [stream.receive().reply.sequence for _ in range(100)] == list(range(1, 101))
    assert num_episodes(server.stub) == {2: 100}


def test_a_curriculum_that_raises_in_an_update_refuses_it_and_everybody_goes_on_being_served(
    server: Serving, stream: Stream
) -> None:
    """Known failure 1: its update thread died, and every environment timed out."""
    stream.open()
    with capture_logs() as logs:
        reply = stream.ask(1, pb.MetricsBatch(episodes=episodes([9]), num_tasks=2))
    assert [(each.part, each.reason) for each in reply.rejections] == [
        (pb.BATCH_PART_EPISODES, pb.REJECTION_REASON_CURRICULUM_ERROR)
    ]
    assert "nine is too many" in reply.curriculum_error
    assert len(column(reply.tasks.task)) == 2
    assert stream.ask(2, pb.MetricsBatch(episodes=episodes([3]), num_tasks=1)).curriculum_error == ""
    other = Stream(server.stub)
    other.open(session_id="other")
    assert column(other.ask(1, pb.MetricsBatch(num_tasks=1)).tasks.task) == [3]
    other.close()
    summary = next(server.stub.WatchCurriculum(pb.WatchCurriculumRequest(curriculum="maze"), timeout=TIMEOUT))
    assert summary.num_curriculum_errors == 1
    assert "nine is too many" in summary.last_curriculum_error
    assert num_episodes(server.stub) == {3: 1}
    errors = [line for line in logs if line["event"] == "curriculum_error"]
    assert [(line["curriculum"], line["session_id"]) for line in errors] == [("maze", "session")]
    assert "RuntimeError: nine is too many" in errors[0]["exception"]


def test_the_tasks_of_an_assignment_need_not_be_told_again(server: Serving, stream: Stream) -> None:
    stream.open()
    stream.ask(1, pb.MetricsBatch(episodes=episodes([6])))
    drawn = stream.ask(2, pb.MetricsBatch(num_tasks=2), 1)
    report = episodes(assignment_ids=codec.from_tensor(drawn.tasks.assignment_id, "ids"))
    assert stream.ask(3, pb.MetricsBatch(episodes=report), 2).rejections == []
    assert num_episodes(server.stub) == {6: 3}
