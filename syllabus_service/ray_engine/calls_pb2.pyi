from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Call(_message.Message):
    __slots__ = ("door", "incarnation", "exchange", "question", "describe", "delete")
    DOOR_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    EXCHANGE_FIELD_NUMBER: _ClassVar[int]
    QUESTION_FIELD_NUMBER: _ClassVar[int]
    DESCRIBE_FIELD_NUMBER: _ClassVar[int]
    DELETE_FIELD_NUMBER: _ClassVar[int]
    door: str
    incarnation: int
    exchange: Exchange
    question: Question
    describe: Describe
    delete: Delete
    def __init__(self, door: _Optional[str] = ..., incarnation: _Optional[int] = ..., exchange: _Optional[_Union[Exchange, _Mapping]] = ..., question: _Optional[_Union[Question, _Mapping]] = ..., describe: _Optional[_Union[Describe, _Mapping]] = ..., delete: _Optional[_Union[Delete, _Mapping]] = ...) -> None: ...

class Exchange(_message.Message):
    __slots__ = ("items", "heard")
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    HEARD_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[Item]
    heard: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, items: _Optional[_Iterable[_Union[Item, _Mapping]]] = ..., heard: _Optional[_Iterable[str]] = ...) -> None: ...

class Item(_message.Message):
    __slots__ = ("streamed", "single", "attach", "detach")
    STREAMED_FIELD_NUMBER: _ClassVar[int]
    SINGLE_FIELD_NUMBER: _ClassVar[int]
    ATTACH_FIELD_NUMBER: _ClassVar[int]
    DETACH_FIELD_NUMBER: _ClassVar[int]
    streamed: bytes
    single: bytes
    attach: str
    detach: str
    def __init__(self, streamed: _Optional[bytes] = ..., single: _Optional[bytes] = ..., attach: _Optional[str] = ..., detach: _Optional[str] = ...) -> None: ...

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
    __slots__ = ("refusal", "position", "outcomes", "message", "description")
    REFUSAL_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    OUTCOMES_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    refusal: Refusal
    position: int
    outcomes: _containers.RepeatedCompositeFieldContainer[Outcome]
    message: bytes
    description: Description
    def __init__(self, refusal: _Optional[_Union[Refusal, _Mapping]] = ..., position: _Optional[int] = ..., outcomes: _Optional[_Iterable[_Union[Outcome, _Mapping]]] = ..., message: _Optional[bytes] = ..., description: _Optional[_Union[Description, _Mapping]] = ...) -> None: ...

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
