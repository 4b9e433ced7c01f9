"""Questions about a curriculum's state, each the request message of an RPC, so that they travel like any message."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from google.protobuf.message import Message

from syllabus_client.wire import curriculum_pb2 as pb
from syllabus_service.errors import FailedPrecondition
from syllabus_service.host import CurriculumHost


def answer(host: CurriculumHost, question: Message) -> Message:
    """The answer to a question. Raises the RequestError of one that the state does not allow. O(N)."""
    return _ANSWERS[type(question)](host, question)


def _checkpoint(host: CurriculumHost, question: pb.SaveCheckpointRequest) -> pb.SaveCheckpointResponse:
    try:
        return pb.SaveCheckpointResponse(checkpoint=host.snapshot(), position=host.position)
    except (NotImplementedError, TypeError) as error:
        raise FailedPrecondition(f"curriculum: {error}", field="curriculum") from error


_ANSWERS: dict[type[Message], Callable[[CurriculumHost, Any], Message]] = {
    pb.GetDistributionRequest: lambda host, question: host.distribution(question.top_n),
    pb.GetStatisticsRequest: lambda host, question: host.statistics(question),
    pb.WatchCurriculumRequest: lambda host, question: host.summary(question.top_n),
    pb.SaveCheckpointRequest: _checkpoint,
    pb.GetAgentRequest: lambda host, question: pb.GetAgentResponse(agent=host.get_agent(question.agent_id)),
}
QUESTIONS: dict[str, type[Message]] = {kind.__name__: kind for kind in _ANSWERS}  #: by name
