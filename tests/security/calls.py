"""Any RPC of the contract, called by its descriptor, with a request that a service would answer."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable, Sequence

import grpc
import numpy as np
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from syllabus_client.task_spaces import DiscreteTaskSpace
from syllabus_client.wire import curriculum_pb2 as pb
from syllabus_service.curricula import Curriculum
from tests.service.serving import TIMEOUT, Serving, episodes, spec

METHODS = list(pb.DESCRIPTOR.services_by_name["CurriculumService"].methods)
"""Every RPC there is."""

_numbers = itertools.count(1)


class Agents(Curriculum):
    """Stores agents and answers updates, in the least that the host asks for."""

    state_fields = ("agents",)

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.agents: list[bytes] = [b"first"]

    def _draw(self, k: int) -> np.ndarray:
        return np.zeros(k, np.int64)

    def distribution(self) -> np.ndarray:
        return np.full(10, 0.1)

    def add_agent(self, agent: bytes) -> int:
        self.agents.append(agent)
        return len(self.agents) - 1

    def get_agent(self, agent_id: int) -> bytes:
        return self.agents[agent_id]

    def custom_update(self, **metrics) -> None:
        pass


def host_maze(server: Serving) -> None:
    """Serve the curriculum ``maze``, which every request below is about, and ``other``."""
    server.host("maze", Agents(DiscreteTaskSpace(10), seed=1))
    server.host("other", Agents(DiscreteTaskSpace(10), seed=1))


def _new_name() -> str:
    return f"maze-{next(_numbers)}"


def _doomed(server: Serving) -> str:
    name = _new_name()
    server.run(lambda: server.engine.create(name, spec()))
    return name


def _checkpoint(server: Serving) -> bytes:
    return server.run(lambda: server.engine.read("maze", lambda host: host.snapshot()))


def _session() -> dict[str, object]:
    return {"curriculum": "maze", "session_id": uuid.uuid4().hex, "sequence": 1}


REQUESTS: dict[str, Callable[[Serving], Message]] = {
    "CreateCurriculum": lambda server: pb.CreateCurriculumRequest(name=_new_name(), spec=spec()),
    "GetCurriculum": lambda server: pb.GetCurriculumRequest(curriculum="maze"),
    "ListCurricula": lambda server: pb.ListCurriculaRequest(),
    "DeleteCurriculum": lambda server: pb.DeleteCurriculumRequest(curriculum=_doomed(server)),
    "GetTask": lambda server: pb.GetTaskRequest(**_session(), num_tasks=1),
    "ReportEpisode": lambda server: pb.ReportEpisodeRequest(**_session(), episodes=episodes([1])),
    "StreamMetrics": lambda server: pb.StreamMetricsRequest(
        open=pb.OpenSession(curriculum="maze", session_id=uuid.uuid4().hex)
    ),
    "CustomUpdate": lambda server: pb.CustomUpdateRequest(**_session()),
    "GetDistribution": lambda server: pb.GetDistributionRequest(curriculum="maze"),
    "GetStatistics": lambda server: pb.GetStatisticsRequest(curriculum="maze"),
    "WatchCurriculum": lambda server: pb.WatchCurriculumRequest(curriculum="maze"),
    "SaveCheckpoint": lambda server: pb.SaveCheckpointRequest(curriculum="maze"),
    "RestoreCheckpoint": lambda server: pb.RestoreCheckpointRequest(**_session(), checkpoint=_checkpoint(server)),
    "AddAgent": lambda server: pb.AddAgentRequest(**_session(), agent=b"second"),
    "GetAgent": lambda server: pb.GetAgentRequest(curriculum="maze", agent_id=0),
}
"""A request for each RPC that is answered with OK where its sender is let in."""


def call(
    channel: grpc.Channel, method: MethodDescriptor, request: bytes, metadata: Sequence[tuple[str, str]] = ()
) -> tuple[str, Message | None]:
    """Call an RPC with the bytes of one request: the name of its status, and its first answer."""
    path = f"/{method.containing_service.full_name}/{method.name}"
    parse = GetMessageClass(method.output_type).FromString
    try:
        if not method.server_streaming:
            return "OK", channel.unary_unary(path, None, parse)(request, timeout=TIMEOUT, metadata=metadata)
        if method.client_streaming:
            answers = channel.stream_stream(path, None, parse)(iter([request]), timeout=TIMEOUT, metadata=metadata)
        else:
            answers = channel.unary_stream(path, None, parse)(request, timeout=TIMEOUT, metadata=metadata)
        answer = next(answers, None)
        answers.cancel()
        return "OK", answer
    except grpc.RpcError as error:
        return error.code().name, None


def bearer(text: str) -> tuple[tuple[str, str], ...]:
    """The metadata of a caller with this token."""
    return (("authorization", f"Bearer {text}"),)
