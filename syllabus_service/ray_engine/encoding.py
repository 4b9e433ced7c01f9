"""Refusals, replies, questions and their answers, as the messages that front doors and actors exchange."""

from __future__ import annotations

from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from syllabus_client.wire import curriculum_pb2 as pb
from syllabus_service.errors import BY_CODE, RequestError
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
