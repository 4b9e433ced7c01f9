import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import struct_pb2 as _struct_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class DataType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DATA_TYPE_UNSPECIFIED: _ClassVar[DataType]
    DATA_TYPE_FLOAT64: _ClassVar[DataType]
    DATA_TYPE_FLOAT32: _ClassVar[DataType]
    DATA_TYPE_FLOAT16: _ClassVar[DataType]
    DATA_TYPE_INT64: _ClassVar[DataType]
    DATA_TYPE_INT32: _ClassVar[DataType]
    DATA_TYPE_INT16: _ClassVar[DataType]
    DATA_TYPE_INT8: _ClassVar[DataType]
    DATA_TYPE_UINT64: _ClassVar[DataType]
    DATA_TYPE_UINT32: _ClassVar[DataType]
    DATA_TYPE_UINT16: _ClassVar[DataType]
    DATA_TYPE_UINT8: _ClassVar[DataType]
    DATA_TYPE_BOOL: _ClassVar[DataType]

class ProductEncoding(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PRODUCT_ENCODING_UNSPECIFIED: _ClassVar[ProductEncoding]
    PRODUCT_ENCODING_FLAT: _ClassVar[ProductEncoding]
    PRODUCT_ENCODING_TUPLE: _ClassVar[ProductEncoding]

class Purpose(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PURPOSE_UNSPECIFIED: _ClassVar[Purpose]
    PURPOSE_TRAIN: _ClassVar[Purpose]
    PURPOSE_EVALUATE: _ClassVar[Purpose]

class RejectionReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    REJECTION_REASON_UNSPECIFIED: _ClassVar[RejectionReason]
    REJECTION_REASON_ASSIGNMENT_NOT_OPEN: _ClassVar[RejectionReason]
    REJECTION_REASON_FOREIGN_ASSIGNMENT: _ClassVar[RejectionReason]
    REJECTION_REASON_CURRICULUM_ERROR: _ClassVar[RejectionReason]

class BatchPart(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    BATCH_PART_UNSPECIFIED: _ClassVar[BatchPart]
    BATCH_PART_STEPS: _ClassVar[BatchPart]
    BATCH_PART_PROGRESS: _ClassVar[BatchPart]
    BATCH_PART_EPISODES: _ClassVar[BatchPart]
    BATCH_PART_RELEASED: _ClassVar[BatchPart]
DATA_TYPE_UNSPECIFIED: DataType
DATA_TYPE_FLOAT64: DataType
DATA_TYPE_FLOAT32: DataType
DATA_TYPE_FLOAT16: DataType
DATA_TYPE_INT64: DataType
DATA_TYPE_INT32: DataType
DATA_TYPE_INT16: DataType
DATA_TYPE_INT8: DataType
DATA_TYPE_UINT64: DataType
DATA_TYPE_UINT32: DataType
DATA_TYPE_UINT16: DataType
DATA_TYPE_UINT8: DataType
DATA_TYPE_BOOL: DataType
PRODUCT_ENCODING_UNSPECIFIED: ProductEncoding
PRODUCT_ENCODING_FLAT: ProductEncoding
PRODUCT_ENCODING_TUPLE: ProductEncoding
PURPOSE_UNSPECIFIED: Purpose
PURPOSE_TRAIN: Purpose
PURPOSE_EVALUATE: Purpose
REJECTION_REASON_UNSPECIFIED: RejectionReason
REJECTION_REASON_ASSIGNMENT_NOT_OPEN: RejectionReason
REJECTION_REASON_FOREIGN_ASSIGNMENT: RejectionReason
REJECTION_REASON_CURRICULUM_ERROR: RejectionReason
BATCH_PART_UNSPECIFIED: BatchPart
BATCH_PART_STEPS: BatchPart
BATCH_PART_PROGRESS: BatchPart
BATCH_PART_EPISODES: BatchPart
BATCH_PART_RELEASED: BatchPart

class Tensor(_message.Message):
    __slots__ = ("dtype", "shape", "data")
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    dtype: DataType
    shape: _containers.RepeatedScalarFieldContainer[int]
    data: bytes
    def __init__(self, dtype: _Optional[_Union[DataType, str]] = ..., shape: _Optional[_Iterable[int]] = ..., data: _Optional[bytes] = ...) -> None: ...

class TaskSpace(_message.Message):
    __slots__ = ("discrete", "multi_discrete", "box", "tuple", "stratified_discrete", "task_names")
    DISCRETE_FIELD_NUMBER: _ClassVar[int]
    MULTI_DISCRETE_FIELD_NUMBER: _ClassVar[int]
    BOX_FIELD_NUMBER: _ClassVar[int]
    TUPLE_FIELD_NUMBER: _ClassVar[int]
    STRATIFIED_DISCRETE_FIELD_NUMBER: _ClassVar[int]
    TASK_NAMES_FIELD_NUMBER: _ClassVar[int]
    discrete: DiscreteTaskSpace
    multi_discrete: MultiDiscreteTaskSpace
    box: BoxTaskSpace
    tuple: TupleTaskSpace
    stratified_discrete: StratifiedDiscreteTaskSpace
    task_names: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, discrete: _Optional[_Union[DiscreteTaskSpace, _Mapping]] = ..., multi_discrete: _Optional[_Union[MultiDiscreteTaskSpace, _Mapping]] = ..., box: _Optional[_Union[BoxTaskSpace, _Mapping]] = ..., tuple: _Optional[_Union[TupleTaskSpace, _Mapping]] = ..., stratified_discrete: _Optional[_Union[StratifiedDiscreteTaskSpace, _Mapping]] = ..., task_names: _Optional[_Iterable[str]] = ...) -> None: ...

class DiscreteTaskSpace(_message.Message):
    __slots__ = ("num_tasks", "start", "json_tasks")
    NUM_TASKS_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    JSON_TASKS_FIELD_NUMBER: _ClassVar[int]
    num_tasks: int
    start: int
    json_tasks: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, num_tasks: _Optional[int] = ..., start: _Optional[int] = ..., json_tasks: _Optional[_Iterable[str]] = ...) -> None: ...

class MultiDiscreteTaskSpace(_message.Message):
    __slots__ = ("components", "encoding")
    COMPONENTS_FIELD_NUMBER: _ClassVar[int]
    ENCODING_FIELD_NUMBER: _ClassVar[int]
    components: _containers.RepeatedCompositeFieldContainer[DiscreteTaskSpace]
    encoding: ProductEncoding
    def __init__(self, components: _Optional[_Iterable[_Union[DiscreteTaskSpace, _Mapping]]] = ..., encoding: _Optional[_Union[ProductEncoding, str]] = ...) -> None: ...

class BoxTaskSpace(_message.Message):
    __slots__ = ("low", "high")
    LOW_FIELD_NUMBER: _ClassVar[int]
    HIGH_FIELD_NUMBER: _ClassVar[int]
    low: Tensor
    high: Tensor
    def __init__(self, low: _Optional[_Union[Tensor, _Mapping]] = ..., high: _Optional[_Union[Tensor, _Mapping]] = ...) -> None: ...

class TupleTaskSpace(_message.Message):
    __slots__ = ("components",)
    COMPONENTS_FIELD_NUMBER: _ClassVar[int]
    components: _containers.RepeatedCompositeFieldContainer[TaskSpace]
    def __init__(self, components: _Optional[_Iterable[_Union[TaskSpace, _Mapping]]] = ...) -> None: ...

class StratifiedDiscreteTaskSpace(_message.Message):
    __slots__ = ("tasks", "stratum")
    TASKS_FIELD_NUMBER: _ClassVar[int]
    STRATUM_FIELD_NUMBER: _ClassVar[int]
    tasks: DiscreteTaskSpace
    stratum: Tensor
    def __init__(self, tasks: _Optional[_Union[DiscreteTaskSpace, _Mapping]] = ..., stratum: _Optional[_Union[Tensor, _Mapping]] = ...) -> None: ...

class CurriculumSpec(_message.Message):
    __slots__ = ("algorithm", "params", "task_space", "seed", "lease")
    ALGORITHM_FIELD_NUMBER: _ClassVar[int]
    PARAMS_FIELD_NUMBER: _ClassVar[int]
    TASK_SPACE_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    LEASE_FIELD_NUMBER: _ClassVar[int]
    algorithm: str
    params: _struct_pb2.Struct
    task_space: TaskSpace
    seed: int
    lease: _duration_pb2.Duration
    def __init__(self, algorithm: _Optional[str] = ..., params: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., task_space: _Optional[_Union[TaskSpace, _Mapping]] = ..., seed: _Optional[int] = ..., lease: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class Curriculum(_message.Message):
    __slots__ = ("name", "spec", "incarnation", "position", "requires_step_updates")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SPEC_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    REQUIRES_STEP_UPDATES_FIELD_NUMBER: _ClassVar[int]
    name: str
    spec: CurriculumSpec
    incarnation: int
    position: int
    requires_step_updates: bool
    def __init__(self, name: _Optional[str] = ..., spec: _Optional[_Union[CurriculumSpec, _Mapping]] = ..., incarnation: _Optional[int] = ..., position: _Optional[int] = ..., requires_step_updates: bool = ...) -> None: ...

class TaskBatch(_message.Message):
    __slots__ = ("assignment_id", "task", "probability", "purpose", "position")
    ASSIGNMENT_ID_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    PURPOSE_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    assignment_id: Tensor
    task: Tensor
    probability: Tensor
    purpose: _containers.RepeatedScalarFieldContainer[Purpose]
    position: int
    def __init__(self, assignment_id: _Optional[_Union[Tensor, _Mapping]] = ..., task: _Optional[_Union[Tensor, _Mapping]] = ..., probability: _Optional[_Union[Tensor, _Mapping]] = ..., purpose: _Optional[_Iterable[_Union[Purpose, str]]] = ..., position: _Optional[int] = ...) -> None: ...

class EpisodeBatch(_message.Message):
    __slots__ = ("assignment_id", "task", "episode_return", "length", "progress", "env_id", "metrics", "agents", "agent_return")
    class MetricsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: Tensor
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[Tensor, _Mapping]] = ...) -> None: ...
    ASSIGNMENT_ID_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    EPISODE_RETURN_FIELD_NUMBER: _ClassVar[int]
    LENGTH_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    ENV_ID_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    AGENTS_FIELD_NUMBER: _ClassVar[int]
    AGENT_RETURN_FIELD_NUMBER: _ClassVar[int]
    assignment_id: Tensor
    task: Tensor
    episode_return: Tensor
    length: Tensor
    progress: Tensor
    env_id: Tensor
    metrics: _containers.MessageMap[str, Tensor]
    agents: _containers.RepeatedScalarFieldContainer[str]
    agent_return: Tensor
    def __init__(self, assignment_id: _Optional[_Union[Tensor, _Mapping]] = ..., task: _Optional[_Union[Tensor, _Mapping]] = ..., episode_return: _Optional[_Union[Tensor, _Mapping]] = ..., length: _Optional[_Union[Tensor, _Mapping]] = ..., progress: _Optional[_Union[Tensor, _Mapping]] = ..., env_id: _Optional[_Union[Tensor, _Mapping]] = ..., metrics: _Optional[_Mapping[str, Tensor]] = ..., agents: _Optional[_Iterable[str]] = ..., agent_return: _Optional[_Union[Tensor, _Mapping]] = ...) -> None: ...

class ProgressBatch(_message.Message):
    __slots__ = ("assignment_id", "task", "progress", "env_id")
    ASSIGNMENT_ID_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    ENV_ID_FIELD_NUMBER: _ClassVar[int]
    assignment_id: Tensor
    task: Tensor
    progress: Tensor
    env_id: Tensor
    def __init__(self, assignment_id: _Optional[_Union[Tensor, _Mapping]] = ..., task: _Optional[_Union[Tensor, _Mapping]] = ..., progress: _Optional[_Union[Tensor, _Mapping]] = ..., env_id: _Optional[_Union[Tensor, _Mapping]] = ...) -> None: ...

class StepBatch(_message.Message):
    __slots__ = ("assignment_id", "task", "reward", "terminated", "truncated", "env_id", "arrays")
    class ArraysEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: Tensor
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[Tensor, _Mapping]] = ...) -> None: ...
    ASSIGNMENT_ID_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    REWARD_FIELD_NUMBER: _ClassVar[int]
    TERMINATED_FIELD_NUMBER: _ClassVar[int]
    TRUNCATED_FIELD_NUMBER: _ClassVar[int]
    ENV_ID_FIELD_NUMBER: _ClassVar[int]
    ARRAYS_FIELD_NUMBER: _ClassVar[int]
    assignment_id: Tensor
    task: Tensor
    reward: Tensor
    terminated: Tensor
    truncated: Tensor
    env_id: Tensor
    arrays: _containers.MessageMap[str, Tensor]
    def __init__(self, assignment_id: _Optional[_Union[Tensor, _Mapping]] = ..., task: _Optional[_Union[Tensor, _Mapping]] = ..., reward: _Optional[_Union[Tensor, _Mapping]] = ..., terminated: _Optional[_Union[Tensor, _Mapping]] = ..., truncated: _Optional[_Union[Tensor, _Mapping]] = ..., env_id: _Optional[_Union[Tensor, _Mapping]] = ..., arrays: _Optional[_Mapping[str, Tensor]] = ...) -> None: ...

class MetricsBatch(_message.Message):
    __slots__ = ("steps", "progress", "episodes", "released", "num_tasks", "close")
    STEPS_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    EPISODES_FIELD_NUMBER: _ClassVar[int]
    RELEASED_FIELD_NUMBER: _ClassVar[int]
    NUM_TASKS_FIELD_NUMBER: _ClassVar[int]
    CLOSE_FIELD_NUMBER: _ClassVar[int]
    steps: StepBatch
    progress: ProgressBatch
    episodes: EpisodeBatch
    released: Tensor
    num_tasks: int
    close: bool
    def __init__(self, steps: _Optional[_Union[StepBatch, _Mapping]] = ..., progress: _Optional[_Union[ProgressBatch, _Mapping]] = ..., episodes: _Optional[_Union[EpisodeBatch, _Mapping]] = ..., released: _Optional[_Union[Tensor, _Mapping]] = ..., num_tasks: _Optional[int] = ..., close: bool = ...) -> None: ...

class Rejection(_message.Message):
    __slots__ = ("part", "row", "reason")
    PART_FIELD_NUMBER: _ClassVar[int]
    ROW_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    part: BatchPart
    row: int
    reason: RejectionReason
    def __init__(self, part: _Optional[_Union[BatchPart, str]] = ..., row: _Optional[int] = ..., reason: _Optional[_Union[RejectionReason, str]] = ...) -> None: ...

class BatchReply(_message.Message):
    __slots__ = ("sequence", "tasks", "rejections", "curriculum_error", "position")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    TASKS_FIELD_NUMBER: _ClassVar[int]
    REJECTIONS_FIELD_NUMBER: _ClassVar[int]
    CURRICULUM_ERROR_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    tasks: TaskBatch
    rejections: _containers.RepeatedCompositeFieldContainer[Rejection]
    curriculum_error: str
    position: int
    def __init__(self, sequence: _Optional[int] = ..., tasks: _Optional[_Union[TaskBatch, _Mapping]] = ..., rejections: _Optional[_Iterable[_Union[Rejection, _Mapping]]] = ..., curriculum_error: _Optional[str] = ..., position: _Optional[int] = ...) -> None: ...

class OpenSession(_message.Message):
    __slots__ = ("curriculum", "session_id", "incarnation")
    CURRICULUM_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    curriculum: str
    session_id: str
    incarnation: int
    def __init__(self, curriculum: _Optional[str] = ..., session_id: _Optional[str] = ..., incarnation: _Optional[int] = ...) -> None: ...

class SessionBatch(_message.Message):
    __slots__ = ("sequence", "acknowledged_sequence", "batch", "client_statistics")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    ACKNOWLEDGED_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    BATCH_FIELD_NUMBER: _ClassVar[int]
    CLIENT_STATISTICS_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    acknowledged_sequence: int
    batch: MetricsBatch
    client_statistics: ClientStatistics
    def __init__(self, sequence: _Optional[int] = ..., acknowledged_sequence: _Optional[int] = ..., batch: _Optional[_Union[MetricsBatch, _Mapping]] = ..., client_statistics: _Optional[_Union[ClientStatistics, _Mapping]] = ...) -> None: ...

class ClientStatistics(_message.Message):
    __slots__ = ("tasks_used", "prefetch_misses", "reset_wait", "reset_wait_max", "task_age", "task_age_max", "batches_resent", "tasks_repeated", "episodes_invalid")
    TASKS_USED_FIELD_NUMBER: _ClassVar[int]
    PREFETCH_MISSES_FIELD_NUMBER: _ClassVar[int]
    RESET_WAIT_FIELD_NUMBER: _ClassVar[int]
    RESET_WAIT_MAX_FIELD_NUMBER: _ClassVar[int]
    TASK_AGE_FIELD_NUMBER: _ClassVar[int]
    TASK_AGE_MAX_FIELD_NUMBER: _ClassVar[int]
    BATCHES_RESENT_FIELD_NUMBER: _ClassVar[int]
    TASKS_REPEATED_FIELD_NUMBER: _ClassVar[int]
    EPISODES_INVALID_FIELD_NUMBER: _ClassVar[int]
    tasks_used: int
    prefetch_misses: int
    reset_wait: _duration_pb2.Duration
    reset_wait_max: _duration_pb2.Duration
    task_age: _duration_pb2.Duration
    task_age_max: _duration_pb2.Duration
    batches_resent: int
    tasks_repeated: int
    episodes_invalid: int
    def __init__(self, tasks_used: _Optional[int] = ..., prefetch_misses: _Optional[int] = ..., reset_wait: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., reset_wait_max: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., task_age: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., task_age_max: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., batches_resent: _Optional[int] = ..., tasks_repeated: _Optional[int] = ..., episodes_invalid: _Optional[int] = ...) -> None: ...

class Heartbeat(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class StreamMetricsRequest(_message.Message):
    __slots__ = ("open", "batch", "heartbeat")
    OPEN_FIELD_NUMBER: _ClassVar[int]
    BATCH_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    open: OpenSession
    batch: SessionBatch
    heartbeat: Heartbeat
    def __init__(self, open: _Optional[_Union[OpenSession, _Mapping]] = ..., batch: _Optional[_Union[SessionBatch, _Mapping]] = ..., heartbeat: _Optional[_Union[Heartbeat, _Mapping]] = ...) -> None: ...

class SessionOpened(_message.Message):
    __slots__ = ("curriculum", "applied_sequence", "limits", "lease")
    CURRICULUM_FIELD_NUMBER: _ClassVar[int]
    APPLIED_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    LEASE_FIELD_NUMBER: _ClassVar[int]
    curriculum: Curriculum
    applied_sequence: int
    limits: Limits
    lease: _duration_pb2.Duration
    def __init__(self, curriculum: _Optional[_Union[Curriculum, _Mapping]] = ..., applied_sequence: _Optional[int] = ..., limits: _Optional[_Union[Limits, _Mapping]] = ..., lease: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class Limits(_message.Message):
    __slots__ = ("max_message_bytes", "max_tasks_per_request", "max_rows_per_batch", "max_unacknowledged_batches", "max_open_assignments")
    MAX_MESSAGE_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_TASKS_PER_REQUEST_FIELD_NUMBER: _ClassVar[int]
    MAX_ROWS_PER_BATCH_FIELD_NUMBER: _ClassVar[int]
    MAX_UNACKNOWLEDGED_BATCHES_FIELD_NUMBER: _ClassVar[int]
    MAX_OPEN_ASSIGNMENTS_FIELD_NUMBER: _ClassVar[int]
    max_message_bytes: int
    max_tasks_per_request: int
    max_rows_per_batch: int
    max_unacknowledged_batches: int
    max_open_assignments: int
    def __init__(self, max_message_bytes: _Optional[int] = ..., max_tasks_per_request: _Optional[int] = ..., max_rows_per_batch: _Optional[int] = ..., max_unacknowledged_batches: _Optional[int] = ..., max_open_assignments: _Optional[int] = ...) -> None: ...

class StreamMetricsResponse(_message.Message):
    __slots__ = ("opened", "reply", "heartbeat")
    OPENED_FIELD_NUMBER: _ClassVar[int]
    REPLY_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    opened: SessionOpened
    reply: BatchReply
    heartbeat: Heartbeat
    def __init__(self, opened: _Optional[_Union[SessionOpened, _Mapping]] = ..., reply: _Optional[_Union[BatchReply, _Mapping]] = ..., heartbeat: _Optional[_Union[Heartbeat, _Mapping]] = ...) -> None: ...

class CreateCurriculumRequest(_message.Message):
    __slots__ = ("name", "spec", "allow_existing")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SPEC_FIELD_NUMBER: _ClassVar[int]
    ALLOW_EXISTING_FIELD_NUMBER: _ClassVar[int]
    name: str
    spec: CurriculumSpec
    allow_existing: bool
    def __init__(self, name: _Optional[str] = ..., spec: _Optional[_Union[CurriculumSpec, _Mapping]] = ..., allow_existing: bool = ...) -> None: ...

class CreateCurriculumResponse(_message.Message):
    __slots__ = ("curriculum",)
    CURRICULUM_FIELD_NUMBER: _ClassVar[int]
    curriculum: Curriculum
    def __init__(self, curriculum: _Optional[_Union[Curriculum, _Mapping]] = ...) -> None: ...

class GetCurriculumRequest(_message.Message):
    __slots__ = ("curriculum",)
    CURRICULUM_FIELD_NUMBER: _ClassVar[int]
    curriculum: str
    def __init__(self, curriculum: _Optional[str] = ...) -> None: ...

class GetCurriculumResponse(_message.Message):
    __slots__ = ("curriculum",)
    CURRICULUM_FIELD_NUMBER: _ClassVar[int]
    curriculum: Curriculum
    def __init__(self, curriculum: _Optional[_Union[Curriculum, _Mapping]] = ...) -> None: ...

class ListCurriculaRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListCurriculaResponse(_message.Message):
    __slots__ = ("curricula", "next_page_token")
    CURRICULA_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    curricula: _containers.RepeatedCompositeFieldContainer[Curriculum]
    next_page_token: str
    def __init__(self, curricula: _Optional[_Iterable[_Union[Curriculum, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class DeleteCurriculumRequest(_message.Message):
    __slots__ = ("curriculum",)
    CURRICULUM_FIELD_NUMBER: _ClassVar[int]
    curriculum: str
    def __init__(self, curriculum: _Optional[str] = ...) -> None: ...

class DeleteCurriculumResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetTaskRequest(_message.Message):
    __slots__ = ("curriculum", "session_id", "sequence", "num_tasks")
    CURRICULUM_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    NUM_TASKS_FIELD_NUMBER: _ClassVar[int]
    curriculum: str
    session_id: str
    sequence: int
    num_tasks: int
    def __init__(self, curriculum: _Optional[str] = ..., session_id: _Optional[str] = ..., sequence: _Optional[int] = ..., num_tasks: _Optional[int] = ...) -> None: ...

class GetTaskResponse(_message.Message):
    __slots__ = ("reply", "incarnation")
    REPLY_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    reply: BatchReply
    incarnation: int
    def __init__(self, reply: _Optional[_Union[BatchReply, _Mapping]] = ..., incarnation: _Optional[int] = ...) -> None: ...

class ReportEpisodeRequest(_message.Message):
    __slots__ = ("curriculum", "session_id", "sequence", "episodes", "released")
    CURRICULUM_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    EPISODES_FIELD_NUMBER: _ClassVar[int]
    RELEASED_FIELD_NUMBER: _ClassVar[int]
    curriculum: str
    session_id: str
    sequence: int
    episodes: EpisodeBatch
    released: Tensor
    def __init__(self, curriculum: _Optional[str] = ..., session_id: _Optional[str] = ..., sequence: _Optional[int] = ..., episodes: _Optional[_Union[EpisodeBatch, _Mapping]] = ..., released: _Optional[_Union[Tensor, _Mapping]] = ...) -> None: ...

class ReportEpisodeResponse(_message.Message):
    __slots__ = ("reply",)
    REPLY_FIELD_NUMBER: _ClassVar[int]
    reply: BatchReply
    def __init__(self, reply: _Optional[_Union[BatchReply, _Mapping]] = ...) -> None: ...

class CustomUpdateRequest(_message.Message):
    __slots__ = ("curriculum", "session_id", "sequence", "arrays", "values")
    class ArraysEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: Tensor
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[Tensor, _Mapping]] = ...) -> None: ...
    CURRICULUM_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    ARRAYS_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    curriculum: str
    session_id: str
    sequence: int
    arrays: _containers.MessageMap[str, Tensor]
    values: _struct_pb2.Struct
    def __init__(self, curriculum: _Optional[str] = ..., session_id: _Optional[str] = ..., sequence: _Optional[int] = ..., arrays: _Optional[_Mapping[str, Tensor]] = ..., values: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ...) -> None: ...

class CustomUpdateResponse(_message.Message):
    __slots__ = ("position", "arrays")
    class ArraysEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: Tensor
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[Tensor, _Mapping]] = ...) -> None: ...
    POSITION_FIELD_NUMBER: _ClassVar[int]
    ARRAYS_FIELD_NUMBER: _ClassVar[int]
    position: int
    arrays: _containers.MessageMap[str, Tensor]
    def __init__(self, position: _Optional[int] = ..., arrays: _Optional[_Mapping[str, Tensor]] = ...) -> None: ...

class GetDistributionRequest(_message.Message):
    __slots__ = ("curriculum", "top_n")
    CURRICULUM_FIELD_NUMBER: _ClassVar[int]
    TOP_N_FIELD_NUMBER: _ClassVar[int]
    curriculum: str
    top_n: int
    def __init__(self, curriculum: _Optional[str] = ..., top_n: _Optional[int] = ...) -> None: ...

class GetDistributionResponse(_message.Message):
    __slots__ = ("task", "probability", "entropy", "effective_num_tasks", "position")
    TASK_FIELD_NUMBER: _ClassVar[int]
    PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    ENTROPY_FIELD_NUMBER: _ClassVar[int]
    EFFECTIVE_NUM_TASKS_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    task: Tensor
    probability: Tensor
    entropy: float
    effective_num_tasks: float
    position: int
    def __init__(self, task: _Optional[_Union[Tensor, _Mapping]] = ..., probability: _Optional[_Union[Tensor, _Mapping]] = ..., entropy: _Optional[float] = ..., effective_num_tasks: _Optional[float] = ..., position: _Optional[int] = ...) -> None: ...

class GetStatisticsRequest(_message.Message):
    __slots__ = ("curriculum", "task", "top_n")
    CURRICULUM_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    TOP_N_FIELD_NUMBER: _ClassVar[int]
    curriculum: str
    task: Tensor
    top_n: int
    def __init__(self, curriculum: _Optional[str] = ..., task: _Optional[_Union[Tensor, _Mapping]] = ..., top_n: _Optional[int] = ...) -> None: ...

class EpisodeStatistics(_message.Message):
    __slots__ = ("task", "num_episodes", "return_mean", "return_std", "length_mean", "length_std", "success_rate")
    TASK_FIELD_NUMBER: _ClassVar[int]
    NUM_EPISODES_FIELD_NUMBER: _ClassVar[int]
    RETURN_MEAN_FIELD_NUMBER: _ClassVar[int]
    RETURN_STD_FIELD_NUMBER: _ClassVar[int]
    LENGTH_MEAN_FIELD_NUMBER: _ClassVar[int]
    LENGTH_STD_FIELD_NUMBER: _ClassVar[int]
    SUCCESS_RATE_FIELD_NUMBER: _ClassVar[int]
    task: Tensor
    num_episodes: Tensor
    return_mean: Tensor
    return_std: Tensor
    length_mean: Tensor
    length_std: Tensor
    success_rate: Tensor
    def __init__(self, task: _Optional[_Union[Tensor, _Mapping]] = ..., num_episodes: _Optional[_Union[Tensor, _Mapping]] = ..., return_mean: _Optional[_Union[Tensor, _Mapping]] = ..., return_std: _Optional[_Union[Tensor, _Mapping]] = ..., length_mean: _Optional[_Union[Tensor, _Mapping]] = ..., length_std: _Optional[_Union[Tensor, _Mapping]] = ..., success_rate: _Optional[_Union[Tensor, _Mapping]] = ...) -> None: ...

class GetStatisticsResponse(_message.Message):
    __slots__ = ("tasks", "total", "position")
    TASKS_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    tasks: EpisodeStatistics
    total: EpisodeStatistics
    position: int
    def __init__(self, tasks: _Optional[_Union[EpisodeStatistics, _Mapping]] = ..., total: _Optional[_Union[EpisodeStatistics, _Mapping]] = ..., position: _Optional[int] = ...) -> None: ...

class WatchCurriculumRequest(_message.Message):
    __slots__ = ("curriculum", "interval", "top_n")
    CURRICULUM_FIELD_NUMBER: _ClassVar[int]
    INTERVAL_FIELD_NUMBER: _ClassVar[int]
    TOP_N_FIELD_NUMBER: _ClassVar[int]
    curriculum: str
    interval: _duration_pb2.Duration
    top_n: int
    def __init__(self, curriculum: _Optional[str] = ..., interval: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., top_n: _Optional[int] = ...) -> None: ...

class WatchCurriculumResponse(_message.Message):
    __slots__ = ("position", "num_episodes", "num_steps", "num_assignments", "num_abandoned", "num_open_assignments", "num_sessions", "num_rejected", "mean_task_age", "num_curriculum_errors", "last_curriculum_error", "distribution", "total", "clients")
    POSITION_FIELD_NUMBER: _ClassVar[int]
    NUM_EPISODES_FIELD_NUMBER: _ClassVar[int]
    NUM_STEPS_FIELD_NUMBER: _ClassVar[int]
    NUM_ASSIGNMENTS_FIELD_NUMBER: _ClassVar[int]
    NUM_ABANDONED_FIELD_NUMBER: _ClassVar[int]
    NUM_OPEN_ASSIGNMENTS_FIELD_NUMBER: _ClassVar[int]
    NUM_SESSIONS_FIELD_NUMBER: _ClassVar[int]
    NUM_REJECTED_FIELD_NUMBER: _ClassVar[int]
    MEAN_TASK_AGE_FIELD_NUMBER: _ClassVar[int]
    NUM_CURRICULUM_ERRORS_FIELD_NUMBER: _ClassVar[int]
    LAST_CURRICULUM_ERROR_FIELD_NUMBER: _ClassVar[int]
    DISTRIBUTION_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    CLIENTS_FIELD_NUMBER: _ClassVar[int]
    position: int
    num_episodes: int
    num_steps: int
    num_assignments: int
    num_abandoned: int
    num_open_assignments: int
    num_sessions: int
    num_rejected: int
    mean_task_age: float
    num_curriculum_errors: int
    last_curriculum_error: str
    distribution: GetDistributionResponse
    total: EpisodeStatistics
    clients: ClientStatistics
    def __init__(self, position: _Optional[int] = ..., num_episodes: _Optional[int] = ..., num_steps: _Optional[int] = ..., num_assignments: _Optional[int] = ..., num_abandoned: _Optional[int] = ..., num_open_assignments: _Optional[int] = ..., num_sessions: _Optional[int] = ..., num_rejected: _Optional[int] = ..., mean_task_age: _Optional[float] = ..., num_curriculum_errors: _Optional[int] = ..., last_curriculum_error: _Optional[str] = ..., distribution: _Optional[_Union[GetDistributionResponse, _Mapping]] = ..., total: _Optional[_Union[EpisodeStatistics, _Mapping]] = ..., clients: _Optional[_Union[ClientStatistics, _Mapping]] = ...) -> None: ...

class SaveCheckpointRequest(_message.Message):
    __slots__ = ("curriculum",)
    CURRICULUM_FIELD_NUMBER: _ClassVar[int]
    curriculum: str
    def __init__(self, curriculum: _Optional[str] = ...) -> None: ...

class SaveCheckpointResponse(_message.Message):
    __slots__ = ("checkpoint", "position")
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    checkpoint: bytes
    position: int
    def __init__(self, checkpoint: _Optional[bytes] = ..., position: _Optional[int] = ...) -> None: ...

class RestoreCheckpointRequest(_message.Message):
    __slots__ = ("curriculum", "session_id", "sequence", "checkpoint")
    CURRICULUM_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    curriculum: str
    session_id: str
    sequence: int
    checkpoint: bytes
    def __init__(self, curriculum: _Optional[str] = ..., session_id: _Optional[str] = ..., sequence: _Optional[int] = ..., checkpoint: _Optional[bytes] = ...) -> None: ...

class RestoreCheckpointResponse(_message.Message):
    __slots__ = ("position",)
    POSITION_FIELD_NUMBER: _ClassVar[int]
    position: int
    def __init__(self, position: _Optional[int] = ...) -> None: ...

class AddAgentRequest(_message.Message):
    __slots__ = ("curriculum", "session_id", "sequence", "agent")
    CURRICULUM_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    AGENT_FIELD_NUMBER: _ClassVar[int]
    curriculum: str
    session_id: str
    sequence: int
    agent: bytes
    def __init__(self, curriculum: _Optional[str] = ..., session_id: _Optional[str] = ..., sequence: _Optional[int] = ..., agent: _Optional[bytes] = ...) -> None: ...

class AddAgentResponse(_message.Message):
    __slots__ = ("agent_id", "position")
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    agent_id: int
    position: int
    def __init__(self, agent_id: _Optional[int] = ..., position: _Optional[int] = ...) -> None: ...

class GetAgentRequest(_message.Message):
    __slots__ = ("curriculum", "agent_id")
    CURRICULUM_FIELD_NUMBER: _ClassVar[int]
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    curriculum: str
    agent_id: int
    def __init__(self, curriculum: _Optional[str] = ..., agent_id: _Optional[int] = ...) -> None: ...

class GetAgentResponse(_message.Message):
    __slots__ = ("agent",)
    AGENT_FIELD_NUMBER: _ClassVar[int]
    agent: bytes
    def __init__(self, agent: _Optional[bytes] = ...) -> None: ...
