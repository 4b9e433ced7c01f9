from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Command(_message.Message):
    __slots__ = ("session_id", "sequence", "acknowledged_sequence", "metrics_batch", "custom_update", "expire_sessions", "restore_checkpoint", "add_agent", "format_version")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    ACKNOWLEDGED_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    METRICS_BATCH_FIELD_NUMBER: _ClassVar[int]
    CUSTOM_UPDATE_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_SESSIONS_FIELD_NUMBER: _ClassVar[int]
    RESTORE_CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    ADD_AGENT_FIELD_NUMBER: _ClassVar[int]
    FORMAT_VERSION_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    sequence: int
    acknowledged_sequence: int
    metrics_batch: bytes
    custom_update: bytes
    expire_sessions: ExpireSessions
    restore_checkpoint: bytes
    add_agent: bytes
    format_version: int
    def __init__(self, session_id: _Optional[str] = ..., sequence: _Optional[int] = ..., acknowledged_sequence: _Optional[int] = ..., metrics_batch: _Optional[bytes] = ..., custom_update: _Optional[bytes] = ..., expire_sessions: _Optional[_Union[ExpireSessions, _Mapping]] = ..., restore_checkpoint: _Optional[bytes] = ..., add_agent: _Optional[bytes] = ..., format_version: _Optional[int] = ...) -> None: ...

class ExpireSessions(_message.Message):
    __slots__ = ("session_ids", "forgotten_session_ids")
    SESSION_IDS_FIELD_NUMBER: _ClassVar[int]
    FORGOTTEN_SESSION_IDS_FIELD_NUMBER: _ClassVar[int]
    session_ids: _containers.RepeatedScalarFieldContainer[str]
    forgotten_session_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, session_ids: _Optional[_Iterable[str]] = ..., forgotten_session_ids: _Optional[_Iterable[str]] = ...) -> None: ...
