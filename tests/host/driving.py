"""Drive a host in process: build commands from plain columns, and read answers as numpy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from syllabus_client.wire import codec
from syllabus_client.wire import curriculum_pb2 as pb
from syllabus_service import commands as c
from syllabus_service.errors import RequestError
from syllabus_service.host import CurriculumHost
from syllabus_service.limits import Limits


def episodes(
    ids: Sequence[int] | np.ndarray,
    returns: Sequence[float] | np.ndarray | None = None,
    *,
    tasks: Any = None,
    progress: Any = None,
    lengths: Any = None,
) -> pb.EpisodeBatch:
    """Episodes that end assignments; return 1, length 5, progress 0 and environment 0 unless told."""
    rows = len(ids)
    message = pb.EpisodeBatch(
        assignment_id=codec.to_tensor(np.asarray(ids, np.uint64)),
        episode_return=codec.to_tensor(np.ones(rows) if returns is None else np.asarray(returns, np.float64)),
        length=codec.to_tensor(np.full(rows, 5) if lengths is None else np.asarray(lengths, np.int64)),
        progress=codec.to_tensor(np.zeros(rows) if progress is None else np.asarray(progress, np.float64)),
        env_id=codec.to_tensor(np.zeros(rows, np.int64)),
    )
    if tasks is not None:
        message.task.CopyFrom(codec.to_tensor(np.asarray(tasks, np.int64)))
    return message


def released(ids: Sequence[int] | np.ndarray) -> pb.Tensor:
    """Assignments given back."""
    return codec.to_tensor(np.asarray(ids, np.uint64))


class Driver:
    """One session of a host: keeps its sequence, and answers with messages or raises the refusal."""

    def __init__(self, host: CurriculumHost, session_id: str = "worker", limits: Limits | None = None) -> None:
        self.host = host
        self.session_id = session_id
        self.limits = limits or host.limits
        self.sequence = 0
        self.records: list[bytes] = []

    def command(self, sequence: int, acknowledged: int | None = None, **parts: Any) -> c.Command:
        """A metrics batch as a command."""
        acknowledged = sequence - 1 if acknowledged is None else acknowledged
        message = pb.MetricsBatch(**parts)
        return c.metrics_command(
            self.session_id, sequence, acknowledged, message, self.host.task_space, self.limits, takes_steps=True
        )

    def send(self, now: float = 0.0, **parts: Any) -> pb.BatchReply:
        """Apply the session's next metrics batch."""
        reply = self.apply(self.command(self.sequence + 1, **parts), now)
        assert isinstance(reply, pb.BatchReply)
        return reply

    def draw(self, count: int, now: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
        """Draw tasks: assignment ids and encoded tasks."""
        return ids_and_tasks(self.send(now, num_tasks=count))

    def custom_update(self, **arrays: Any) -> pb.CustomUpdateResponse:
        """Apply a custom update of arrays."""
        request = pb.CustomUpdateRequest(session_id=self.session_id, sequence=self.sequence + 1)
        for name, array in arrays.items():
            request.arrays[name].CopyFrom(codec.to_tensor(np.asarray(array)))
        return self.apply(c.custom_update_command(request, self.limits))

    def apply(self, command: c.Command, now: float = 0.0) -> Any:
        """Apply one command; raises its refusal."""
        batch = self.host.apply([command], now)
        self.records += batch.records
        (answer,) = batch.answers
        if not isinstance(answer, RequestError) or answer.applied:
            self.sequence = max(self.sequence, command.sequence)
        if isinstance(answer, RequestError):
            raise answer
        return answer


def ids_and_tasks(reply: pb.BatchReply) -> tuple[np.ndarray, np.ndarray]:
    """The tasks of a reply; empty when it has none."""
    if not reply.HasField("tasks"):
        return np.zeros(0, np.uint64), np.zeros(0, np.int64)
    return codec.from_tensor(reply.tasks.assignment_id, "ids"), codec.from_tensor(reply.tasks.task, "tasks")
