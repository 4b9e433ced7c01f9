"""Refusals, replies, questions, answers and measures, as the messages that front doors and actors exchange."""

from __future__ import annotations

from dataclasses import asdict, fields

from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from syllabus_client.wire import curriculum_pb2 as pb
from syllabus_service.errors import BY_CODE, RequestError
from syllabus_service.metrics.histogram import Histogram
from syllabus_service.metrics.runner_tallies import (
    BATCH_BOUNDS,
    SNAPSHOT_BOUNDS,
    STAGE_BOUNDS,
    Readings,
    StateCounts,
)
from syllabus_service.questions import QUESTIONS
from syllabus_service.ray_engine import calls_pb2 as calls
from syllabus_service.sessions import Reply

_REPLIES: dict[str, type[Reply]] = {
    kind.__name__: kind
    for kind in (pb.BatchReply, pb.CustomUpdateResponse, pb.AddAgentResponse, pb.RestoreCheckpointResponse)
}
_ANSWERS: dict[str, type[Message]] = {
    method.input_type.name: GetMessageClass(method.output_type)
    for method in pb.DESCRIPTOR.services_by_name["CurriculumService"].methods
}


def encode_refusal(refusal: RequestError) -> calls.Refusal:
    """A refusal as a message."""
    return calls.Refusal(code=refusal.code, message=refusal.message, field=refusal.field, applied=refusal.applied)


def decode_refusal(message: calls.Refusal) -> RequestError:
    """The refusal of a message."""
    field = message.field if message.HasField("field") else None
    return BY_CODE[message.code](message.message, field=field, applied=message.applied)


def encode_reply(reply: Reply) -> calls.Reply:
    """A reply as a message."""
    return calls.Reply(kind=type(reply).__name__, message=reply.SerializeToString())


def decode_reply(message: calls.Reply) -> Reply:
    """The reply of a message."""
    return _REPLIES[message.kind].FromString(message.message)


def encode_question(question: Message) -> calls.Question:
    """A question as a message."""
    return calls.Question(kind=question.DESCRIPTOR.name, message=question.SerializeToString())


def decode_question(message: calls.Question) -> Message:
    """The question of a message."""
    return QUESTIONS[message.kind].FromString(message.message)


def decode_answer(question: Message, message: bytes) -> Message:
    """The answer to a question."""
    return _ANSWERS[question.DESCRIPTOR.name].FromString(message)


def encode_measures(readings: Readings) -> calls.Measures:
    """What a curriculum counts, as a message; without ``committed``, which every answer has."""

    def histogram(each: Histogram) -> calls.Histogram:
        return calls.Histogram(counts=each.counts, total=each.total)

    return calls.Measures(
        num_queued=readings.num_queued,
        oldest=readings.oldest_seconds,
        batch_sizes=histogram(readings.batch_sizes),
        apply=histogram(readings.apply_seconds),
        journal=histogram(readings.journal_seconds),
        answer=histogram(readings.answer_seconds),
        snapshot=histogram(readings.snapshot_seconds),
        snapshot_failures=readings.snapshot_failures,
        is_kept=readings.is_kept,
        snapshots_given_up=readings.snapshots_given_up,
        snapshot_time=readings.snapshot_time,
        snapshot_position=readings.snapshot_position,
        snapshot_bytes=readings.snapshot_bytes,
        state=asdict(readings.state),
    )


def decode_measures(message: calls.Measures, committed: int) -> Readings:
    """What a curriculum counts. Raises ValueError where it counts into other buckets."""

    def histogram(bounds: tuple[float, ...], each: calls.Histogram) -> Histogram:
        return Histogram.of(bounds, each.counts, each.total)

    return Readings(
        committed=committed,
        num_queued=message.num_queued,
        oldest_seconds=message.oldest,
        batch_sizes=histogram(BATCH_BOUNDS, message.batch_sizes),
        apply_seconds=histogram(STAGE_BOUNDS, message.apply),
        journal_seconds=histogram(STAGE_BOUNDS, message.journal),
        answer_seconds=histogram(STAGE_BOUNDS, message.answer),
        snapshot_seconds=histogram(SNAPSHOT_BOUNDS, message.snapshot),
        snapshot_failures=message.snapshot_failures,
        is_kept=message.is_kept,
        snapshots_given_up=message.snapshots_given_up,
        snapshot_time=message.snapshot_time,
        snapshot_position=message.snapshot_position,
        snapshot_bytes=message.snapshot_bytes,
        state=StateCounts(**{each.name: message.state[each.name] for each in fields(StateCounts)}),
    )
