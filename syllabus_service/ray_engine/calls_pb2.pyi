from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Call(_message.Message):
    __slots__ = ("door", "incarnation", "exchange", "question", "describe", "delete", "protocol", "settings")
    DOOR_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    EXCHANGE_FIELD_NUMBER: _ClassVar[int]
    QUESTION_FIELD_NUMBER: _ClassVar[int]
    DESCRIBE_FIELD_NUMBER: _ClassVar[int]
    DELETE_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    SETTINGS_FIELD_NUMBER: _ClassVar[int]
    door: str
    incarnation: int
    exchange: Exchange
    question: Question
    describe: Describe
    delete: Delete
    protocol: int
    settings: str
    def __init__(self, door: _Optional[str] = ..., incarnation: _Optional[int] = ..., exchange: _Optional[_Union[Exchange, _Mapping]] = ..., question: _Optional[_Union[Question, _Mapping]] = ..., describe: _Optional[_Union[Describe, _Mapping]] = ..., delete: _Optional[_Union[Delete, _Mapping]] = ..., protocol: _Optional[int] = ..., settings: _Optional[str] = ...) -> None: ...

class Exchange(_message.Message):
    __slots__ = ("items", "heard", "detached", "measure")
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    HEARD_FIELD_NUMBER: _ClassVar[int]
    DETACHED_FIELD_NUMBER: _ClassVar[int]
    MEASURE_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[Item]
    heard: _containers.RepeatedScalarFieldContainer[str]
    detached: _containers.RepeatedScalarFieldContainer[str]
    measure: bool
    def __init__(self, items: _Optional[_Iterable[_Union[Item, _Mapping]]] = ..., heard: _Optional[_Iterable[str]] = ..., detached: _Optional[_Iterable[str]] = ..., measure: bool = ...) -> None: ...

class Item(_message.Message):
    __slots__ = ("streamed", "single", "attach")
    STREAMED_FIELD_NUMBER: _ClassVar[int]
    SINGLE_FIELD_NUMBER: _ClassVar[int]
    ATTACH_FIELD_NUMBER: _ClassVar[int]
    streamed: bytes
    single: bytes
    attach: str
    def __init__(self, streamed: _Optional[bytes] = ..., single: _Optional[bytes] = ..., attach: _Optional[str] = ...) -> None: ...

class Question(_message.Message):
    __slots__ = ("kind", "message")
    KIND_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    kind: str
    message: bytes
    def __init__(self, kind: _Optional[str] = ..., message: _Optional[bytes] = ...) -> None: ...

class Describe(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Delete(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Answer(_message.Message):
    __slots__ = ("refusal", "position", "outcomes", "message", "description", "maker", "standing", "measures", "absent")
    REFUSAL_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    OUTCOMES_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    MAKER_FIELD_NUMBER: _ClassVar[int]
    STANDING_FIELD_NUMBER: _ClassVar[int]
    MEASURES_FIELD_NUMBER: _ClassVar[int]
    ABSENT_FIELD_NUMBER: _ClassVar[int]
    refusal: Refusal
    position: int
    outcomes: _containers.RepeatedCompositeFieldContainer[Outcome]
    message: bytes
    description: Description
    maker: Maker
    standing: Refusal
    measures: Measures
    absent: bool
    def __init__(self, refusal: _Optional[_Union[Refusal, _Mapping]] = ..., position: _Optional[int] = ..., outcomes: _Optional[_Iterable[_Union[Outcome, _Mapping]]] = ..., message: _Optional[bytes] = ..., description: _Optional[_Union[Description, _Mapping]] = ..., maker: _Optional[_Union[Maker, _Mapping]] = ..., standing: _Optional[_Union[Refusal, _Mapping]] = ..., measures: _Optional[_Union[Measures, _Mapping]] = ..., absent: bool = ...) -> None: ...

class Maker(_message.Message):
    __slots__ = ("protocol", "settings", "epoch", "forsaken")
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    SETTINGS_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    FORSAKEN_FIELD_NUMBER: _ClassVar[int]
    protocol: int
    settings: str
    epoch: int
    forsaken: bool
    def __init__(self, protocol: _Optional[int] = ..., settings: _Optional[str] = ..., epoch: _Optional[int] = ..., forsaken: bool = ...) -> None: ...

class Measures(_message.Message):
    __slots__ = ("num_queued", "oldest", "batch_sizes", "apply", "journal", "answer", "snapshot", "snapshot_failures", "snapshot_time", "snapshot_position", "snapshot_bytes", "state", "is_kept", "snapshots_given_up")
    class StateEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    NUM_QUEUED_FIELD_NUMBER: _ClassVar[int]
    OLDEST_FIELD_NUMBER: _ClassVar[int]
    BATCH_SIZES_FIELD_NUMBER: _ClassVar[int]
    APPLY_FIELD_NUMBER: _ClassVar[int]
    JOURNAL_FIELD_NUMBER: _ClassVar[int]
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_FAILURES_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_TIME_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_POSITION_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_BYTES_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    IS_KEPT_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOTS_GIVEN_UP_FIELD_NUMBER: _ClassVar[int]
    num_queued: int
    oldest: float
    batch_sizes: Histogram
    apply: Histogram
    journal: Histogram
    answer: Histogram
    snapshot: Histogram
    snapshot_failures: int
    snapshot_time: float
    snapshot_position: int
    snapshot_bytes: int
    state: _containers.ScalarMap[str, int]
    is_kept: bool
    snapshots_given_up: bool
    def __init__(self, num_queued: _Optional[int] = ..., oldest: _Optional[float] = ..., batch_sizes: _Optional[_Union[Histogram, _Mapping]] = ..., apply: _Optional[_Union[Histogram, _Mapping]] = ..., journal: _Optional[_Union[Histogram, _Mapping]] = ..., answer: _Optional[_Union[Histogram, _Mapping]] = ..., snapshot: _Optional[_Union[Histogram, _Mapping]] = ..., snapshot_failures: _Optional[int] = ..., snapshot_time: _Optional[float] = ..., snapshot_position: _Optional[int] = ..., snapshot_bytes: _Optional[int] = ..., state: _Optional[_Mapping[str, int]] = ..., is_kept: bool = ..., snapshots_given_up: bool = ...) -> None: ...

class Histogram(_message.Message):
    __slots__ = ("counts", "total")
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    counts: _containers.RepeatedScalarFieldContainer[int]
    total: float
    def __init__(self, counts: _Optional[_Iterable[int]] = ..., total: _Optional[float] = ...) -> None: ...

class Outcome(_message.Message):
    __slots__ = ("refusal", "reply", "applied_sequence")
    REFUSAL_FIELD_NUMBER: _ClassVar[int]
    REPLY_FIELD_NUMBER: _ClassVar[int]
    APPLIED_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    refusal: Refusal
    reply: Reply
    applied_sequence: int
    def __init__(self, refusal: _Optional[_Union[Refusal, _Mapping]] = ..., reply: _Optional[_Union[Reply, _Mapping]] = ..., applied_sequence: _Optional[int] = ...) -> None: ...

class Reply(_message.Message):
    __slots__ = ("kind", "message")
    KIND_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    kind: str
    message: bytes
    def __init__(self, kind: _Optional[str] = ..., message: _Optional[bytes] = ...) -> None: ...

class Refusal(_message.Message):
    __slots__ = ("code", "message", "field", "applied")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    FIELD_FIELD_NUMBER: _ClassVar[int]
    APPLIED_FIELD_NUMBER: _ClassVar[int]
    code: str
    message: str
    field: str
    applied: bool
    def __init__(self, code: _Optional[str] = ..., message: _Optional[str] = ..., field: _Optional[str] = ..., applied: bool = ...) -> None: ...

class Description(_message.Message):
    __slots__ = ("incarnation", "requires_step_updates")
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    REQUIRES_STEP_UPDATES_FIELD_NUMBER: _ClassVar[int]
    incarnation: int
    requires_step_updates: bool
    def __init__(self, incarnation: _Optional[int] = ..., requires_step_updates: bool = ...) -> None: ...
