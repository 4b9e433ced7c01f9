"""Commands: the only things that change a curriculum; made from messages, and read back from the journal."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import DecodeError

from syllabus_client.task_spaces import TaskSpace
from syllabus_client.wire import codec
from syllabus_client.wire import curriculum_pb2 as pb
from syllabus_service import journal_pb2
from syllabus_service.curricula import EpisodeBatch, StepBatch
from syllabus_service.errors import InvalidArgument, ResourceExhausted
from syllabus_service.limits import Limits

_NAME = re.compile(r"[A-Za-z0-9._-]{1,128}")
_SESSION_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_MAX_SEQUENCE = (1 << 63) - 1

_METRICS_BATCH = journal_pb2.Command.METRICS_BATCH_FIELD_NUMBER

RECORD_VERSION = 1
"""Version of the journal records that are written; those of earlier versions are read, those of later ones refused."""


class RecordVersionError(ValueError):
    """A journal record is of a later version than this program knows."""


@dataclass(frozen=True)
class Reported:
    """Rows that say something about assignments: ids, and the tasks that were run where they are told."""

    assignment_ids: np.ndarray
    """uint64 (n,); 0 for a task that was not handed out."""
    tasks: np.ndarray | None
    """(n, *encoded_shape); None: as assigned."""


@dataclass(frozen=True)
class ReportedEpisodes(Reported):
    """Finished episodes; the columns are those of EpisodeBatch."""

    columns: dict[str, Any]

    def batch(self, tasks: np.ndarray) -> EpisodeBatch:
        """The episodes with their tasks."""
        return EpisodeBatch(tasks=tasks, **self.columns)


@dataclass(frozen=True)
class ReportedProgress(Reported):
    """Task completion in the middle of episodes."""

    progress: np.ndarray
    env_ids: np.ndarray


@dataclass(frozen=True)
class ReportedSteps(Reported):
    """Environment steps; the columns are those of StepBatch."""

    columns: dict[str, Any]

    def batch(self, tasks: np.ndarray) -> StepBatch:
        """The steps with their tasks."""
        return StepBatch(tasks=tasks, **self.columns)


@dataclass(frozen=True)
class Metrics:
    """A metrics batch, decoded: what environments did, and how many tasks they want."""

    steps: ReportedSteps | None = None
    progress: ReportedProgress | None = None
    episodes: ReportedEpisodes | None = None
    released: np.ndarray = field(default_factory=lambda: np.zeros(0, np.uint64))
    num_tasks: int = 0
    close: bool = False


@dataclass(frozen=True)
class CustomUpdate:
    """Named arrays and values from the learner."""

    values: Mapping[str, Any]


@dataclass(frozen=True)
class AddAgent:
    """An agent to store."""

    agent: bytes


@dataclass(frozen=True)
class RestoreCheckpoint:
    """A checkpoint to take the state from."""

    checkpoint: bytes


@dataclass(frozen=True)
class ExpireSessions:
    """Sessions whose lease ran out; some of them are forgotten, too."""

    expired: tuple[str, ...] = ()
    forgotten: tuple[str, ...] = ()


Body = Metrics | CustomUpdate | AddAgent | RestoreCheckpoint | ExpireSessions


@dataclass(frozen=True)
class Command:
    """One change to a curriculum, with its place in its session.

    Attributes:
        session_id: the session, or empty for the service's own commands.
        sequence: its place in the session, from 1; 0 for the service's own.
        acknowledged: the highest sequence whose reply the session has.
        body: what it does.
        payload: the body as the journal keeps it.
    """

    session_id: str
    sequence: int
    acknowledged: int
    body: Body
    payload: bytes

    def to_record(self) -> bytes:
        """The journal record."""
        record = journal_pb2.Command(
            session_id=self.session_id, sequence=self.sequence, acknowledged_sequence=self.acknowledged
        )
        match self.body:
            case Metrics():
                return record.SerializeToString() + codec.embedded(_METRICS_BATCH, self.payload)
            case CustomUpdate():
                record.custom_update = self.payload
            case AddAgent():
                record.add_agent = self.payload
            case RestoreCheckpoint():
                record.restore_checkpoint = self.payload
            case ExpireSessions():
                record.expire_sessions.ParseFromString(self.payload)
        return record.SerializeToString()

    @classmethod
    def from_record(cls, data: bytes, task_space: TaskSpace) -> Command:
        """Read a journal record. Raises ValueError where it is none, RecordVersionError for a later version's."""
        try:
            record = journal_pb2.Command.FromString(data)
        except DecodeError as error:
            raise ValueError(f"not a journal record: {error}") from error
        if record.format_version > RECORD_VERSION:
            raise RecordVersionError(
                f"is of format version {record.format_version}, and this program knows up to {RECORD_VERSION}"
            )
        body: Body
        match record.WhichOneof("body"):
            case "metrics_batch":
                payload = record.metrics_batch
                body = decode_metrics(pb.MetricsBatch.FromString(payload), task_space)
            case "custom_update":
                payload = record.custom_update
                body = _decode_custom_update(pb.CustomUpdateRequest.FromString(payload))
            case "add_agent":
                body = AddAgent(payload := record.add_agent)
            case "restore_checkpoint":
                body = RestoreCheckpoint(payload := record.restore_checkpoint)
            case "expire_sessions":
                payload = record.expire_sessions.SerializeToString()
                body = ExpireSessions(
                    tuple(record.expire_sessions.session_ids), tuple(record.expire_sessions.forgotten_session_ids)
                )
            case other:
                raise ValueError(f"a journal record with an unknown body {other!r}: written by a later version?")
        return cls(record.session_id, record.sequence, record.acknowledged_sequence, body, payload)


# What clients send. Each function refuses with a RequestError that names the field.


def metrics_command(
    session_id: str,
    sequence: int,
    acknowledged: int,
    message: pb.MetricsBatch,
    task_space: TaskSpace,
    limits: Limits,
    *,
    takes_steps: bool = False,
) -> Command:
    """A metrics batch. ``takes_steps``: whether the curriculum requires step updates."""
    _check_session(session_id, sequence)
    if acknowledged >= sequence:
        raise _invalid("acknowledged_sequence", f"expected less than sequence {sequence}, got {acknowledged}")
    if message.num_tasks > limits.max_tasks_per_request:
        raise _invalid("num_tasks", f"expected at most {limits.max_tasks_per_request}, got {message.num_tasks}")
    if message.close and message.num_tasks:
        raise _invalid("num_tasks", "expected 0 in the batch that closes the session")
    if message.HasField("steps") and not takes_steps:
        raise _invalid("batch.steps", "expected none: this curriculum does not require step updates")
    try:
        body = decode_metrics(message, task_space, limits)
    except codec.InvalidFieldError as error:
        raise _invalid(f"batch.{error.field}", error.expected) from error
    return Command(session_id, sequence, acknowledged, body, message.SerializeToString(deterministic=True))


def draw_command(session_id: str, sequence: int, num_tasks: int, limits: Limits) -> Command:
    """A metrics batch that only draws, of a sender that has every answer before this one."""
    _check_session(session_id, sequence)
    if not 1 <= num_tasks <= limits.max_tasks_per_request:
        raise _invalid("num_tasks", f"expected 1 to {limits.max_tasks_per_request}, got {num_tasks}")
    return Command(session_id, sequence, sequence - 1, *_draw_only(num_tasks))


@lru_cache(maxsize=256)
def _draw_only(num_tasks: int) -> tuple[Metrics, bytes]:
    """The body and payload of a metrics batch that only draws: one for all senders, since neither ever changes."""
    return Metrics(num_tasks=num_tasks), pb.MetricsBatch(num_tasks=num_tasks).SerializeToString(deterministic=True)


def custom_update_command(request: pb.CustomUpdateRequest, limits: Limits) -> Command:
    """What only the learner knows."""
    _check_session(request.session_id, request.sequence)
    if len(request.arrays) > limits.max_metrics:
        raise _invalid("arrays", f"expected at most {limits.max_metrics}, got {len(request.arrays)}")
    if both := sorted(set(request.arrays) & set(request.values.fields)):
        raise _invalid("values", f"expected no name that is in arrays, too: {both[0]!r}")
    for name in (*request.arrays, *request.values.fields):
        if not name.isidentifier():
            raise _invalid("arrays", f"expected names that are identifiers, got {name[:64]!r}")
    try:
        body = _decode_custom_update(request)
    except codec.InvalidFieldError as error:
        raise _invalid(error.field, error.expected) from error
    payload = pb.CustomUpdateRequest(arrays=request.arrays, values=request.values)
    return Command(
        request.session_id, request.sequence, request.sequence - 1, body, payload.SerializeToString(deterministic=True)
    )


def add_agent_command(request: pb.AddAgentRequest, limits: Limits) -> Command:
    """An agent to store."""
    _check_session(request.session_id, request.sequence)
    if not request.agent:
        raise _invalid("agent", "expected at least one byte")
    if len(request.agent) > limits.max_agent_bytes:
        raise ResourceExhausted(
            f"agent: expected at most {limits.max_agent_bytes} bytes, got {len(request.agent)}", field="agent"
        )
    return Command(request.session_id, request.sequence, request.sequence - 1, AddAgent(request.agent), request.agent)


def restore_command(request: pb.RestoreCheckpointRequest) -> Command:
    """A checkpoint to take the state from."""
    _check_session(request.session_id, request.sequence)
    if not request.checkpoint:
        raise _invalid("checkpoint", "expected the bytes of a checkpoint")
    body = RestoreCheckpoint(request.checkpoint)
    return Command(request.session_id, request.sequence, request.sequence - 1, body, request.checkpoint)


def expire_command(expired: tuple[str, ...], forgotten: tuple[str, ...]) -> Command:
    """The service's own: leases ran out."""
    payload = journal_pb2.ExpireSessions(session_ids=expired, forgotten_session_ids=forgotten).SerializeToString()
    return Command("", 0, 0, ExpireSessions(expired, forgotten), payload)


def check_name(name: str, field_name: str) -> str:
    """Return a curriculum's name; refuse what is not one."""
    if not _NAME.fullmatch(name):
        raise _invalid(field_name, f"expected 1 to 128 characters from [A-Za-z0-9._-], got {name[:140]!r}")
    return name


def check_session_id(session_id: str, field_name: str = "session_id") -> str:
    """Return a session id; refuse what is not one."""
    if not _SESSION_ID.fullmatch(session_id):
        raise _invalid(field_name, f"expected 1 to 64 characters from [A-Za-z0-9._-], got {session_id[:80]!r}")
    return session_id


def plain_numbers(value: Any) -> Any:
    """A JSON-like value in which every whole float is an int: protobuf's Struct knows only doubles."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**63:
        return int(value)
    if isinstance(value, list):
        return [plain_numbers(item) for item in value]
    if isinstance(value, dict):
        return {key: plain_numbers(item) for key, item in value.items()}
    return value


# Decoding


def decode_metrics(message: pb.MetricsBatch, task_space: TaskSpace, limits: Limits | None = None) -> Metrics:
    """Decode a metrics batch into columns. Raises InvalidFieldError. Without limits, any number of rows will do."""
    released = np.zeros(0, np.uint64)
    if message.HasField("released"):
        released = codec.column(message.released, "released", np.uint64)
    metrics = Metrics(
        steps=_decode_steps(message.steps, task_space, limits) if message.HasField("steps") else None,
        progress=_decode_progress(message.progress, task_space) if message.HasField("progress") else None,
        episodes=_decode_episodes(message.episodes, task_space, limits) if message.HasField("episodes") else None,
        released=released,
        num_tasks=message.num_tasks,
        close=message.close,
    )
    if limits is not None:
        parts = {"steps": metrics.steps, "progress": metrics.progress, "episodes": metrics.episodes}
        rows = {name: len(part.assignment_ids) for name, part in parts.items() if part is not None}
        for name, count in {**rows, "released": len(released)}.items():
            if count > limits.max_rows_per_batch:
                raise codec.InvalidFieldError(name, f"expected at most {limits.max_rows_per_batch} rows, got {count}")
    return metrics


def _decode_episodes(message: pb.EpisodeBatch, task_space: TaskSpace, limits: Limits | None) -> ReportedEpisodes:
    ids, tasks = _decode_tasks(message, "episodes", task_space)
    rows = len(ids)
    _check_names((*message.metrics, *message.agents), "episodes.metrics", limits)
    if len(set(message.agents)) != len(message.agents):
        raise codec.InvalidFieldError("episodes.agents", "expected distinct names")
    agent_returns = None
    if message.agents:
        agent_returns = codec.column(
            message.agent_return, "episodes.agent_return", np.float64, (len(message.agents),), rows
        )
        codec.finite(agent_returns, "episodes.agent_return", allow_nan=True)
    metrics = {}
    for name, tensor in message.metrics.items():
        path = f"episodes.metrics[{name}]"
        metrics[name] = codec.finite(codec.column(tensor, path, np.float64, (), rows), path, allow_nan=True)
    returns = codec.column(message.episode_return, "episodes.episode_return", np.float64, (), rows)
    columns = {
        "episode_returns": codec.finite(returns, "episodes.episode_return"),
        "lengths": _not_negative(message.length, "episodes.length", rows),
        "progress": _unit_interval(message.progress, "episodes.progress", rows),
        "env_ids": _not_negative(message.env_id, "episodes.env_id", rows),
        "metrics": metrics,
        "agents": tuple(message.agents),
        "agent_returns": agent_returns,
    }
    return ReportedEpisodes(ids, tasks, columns)


def _decode_progress(message: pb.ProgressBatch, task_space: TaskSpace) -> ReportedProgress:
    ids, tasks = _decode_tasks(message, "progress", task_space)
    progress = _unit_interval(message.progress, "progress.progress", len(ids))
    return ReportedProgress(ids, tasks, progress, _not_negative(message.env_id, "progress.env_id", len(ids)))


def _decode_steps(message: pb.StepBatch, task_space: TaskSpace, limits: Limits | None) -> ReportedSteps:
    ids, tasks = _decode_tasks(message, "steps", task_space)
    rows = len(ids)
    _check_names(tuple(message.arrays), "steps.arrays", limits)
    arrays = {}
    for name, tensor in message.arrays.items():
        array = codec.from_tensor(tensor, f"steps.arrays[{name}]")
        if array.ndim == 0 or len(array) != rows:
            raise codec.InvalidFieldError(
                f"steps.arrays[{name}].shape", f"expected {rows} rows, got {list(array.shape)}"
            )
        arrays[name] = array
    columns = {
        "rewards": codec.finite(codec.column(message.reward, "steps.reward", np.float64, (), rows), "steps.reward"),
        "terminated": codec.column(message.terminated, "steps.terminated", np.bool_, (), rows),
        "truncated": codec.column(message.truncated, "steps.truncated", np.bool_, (), rows),
        "env_ids": _not_negative(message.env_id, "steps.env_id", rows),
        "arrays": arrays,
    }
    return ReportedSteps(ids, tasks, columns)


def _decode_tasks(
    message: pb.EpisodeBatch | pb.ProgressBatch | pb.StepBatch, part: str, task_space: TaskSpace
) -> tuple[np.ndarray, np.ndarray | None]:
    ids = codec.column(message.assignment_id, f"{part}.assignment_id", np.uint64)
    if not message.HasField("task"):
        if not ids.all():
            row = int(np.flatnonzero(ids == 0)[0])
            raise codec.InvalidFieldError(f"{part}.assignment_id[{row}]", "expected an id, not 0, where task is absent")
        return ids, None
    shape = task_space.encoded_shape
    tasks = codec.column(message.task, f"{part}.task", task_space.encoded_dtype, shape, len(ids))
    inside = task_space.contains_encoded(tasks)
    if not inside.all():
        row = int(np.flatnonzero(~inside)[0])
        raise codec.InvalidFieldError(f"{part}.task[{row}]", f"expected a task of the task space, got {tasks[row]}")
    return ids, tasks


def _decode_custom_update(request: pb.CustomUpdateRequest) -> CustomUpdate:
    arrays = {name: codec.from_tensor(tensor, f"arrays[{name}]") for name, tensor in request.arrays.items()}
    try:
        values = plain_numbers(MessageToDict(request.values))
    except ValueError as error:  # JSON says no infinity
        raise codec.InvalidFieldError("values", "expected finite numbers") from error
    scalars = {name: array.item() for name, array in arrays.items() if array.ndim == 0}  # as in a call in process
    return CustomUpdate({**values, **arrays, **scalars})


def _not_negative(tensor: pb.Tensor, path: str, rows: int) -> np.ndarray:
    array = codec.column(tensor, path, np.int64, (), rows)
    if rows and array.min() < 0:
        row = int(np.flatnonzero(array < 0)[0])
        raise codec.InvalidFieldError(f"{path}[{row}]", f"expected at least 0, got {array[row]}")
    return array


def _unit_interval(tensor: pb.Tensor, path: str, rows: int) -> np.ndarray:
    array = codec.column(tensor, path, np.float64, (), rows)
    if rows and not (array.min() >= 0.0 and array.max() <= 1.0):  # NaN is neither
        row = int(np.flatnonzero(~((array >= 0.0) & (array <= 1.0)))[0])
        raise codec.InvalidFieldError(f"{path}[{row}]", f"expected a number in [0, 1], got {array[row]}")
    return array


def _check_names(names: tuple[str, ...], path: str, limits: Limits | None) -> None:
    if limits is not None and len(names) > limits.max_metrics:
        raise codec.InvalidFieldError(path, f"expected at most {limits.max_metrics} names, got {len(names)}")
    for name in names:
        if not 1 <= len(name) <= 64:
            raise codec.InvalidFieldError(path, f"expected names of 1 to 64 characters, got {name[:80]!r}")


def _check_session(session_id: str, sequence: int) -> None:
    check_session_id(session_id)
    if not 1 <= sequence <= _MAX_SEQUENCE:
        raise _invalid("sequence", f"expected a number from 1 to 2**63 - 1, got {sequence}")


def _invalid(path: str, expected: str) -> InvalidArgument:
    return InvalidArgument(f"{path}: {expected}", field=path)
