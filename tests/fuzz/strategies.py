"""Strategies for the contract's messages, made from their descriptors: mostly valid, or wrong in some way."""

from __future__ import annotations

from typing import Any

import numpy as np
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import strategies as st

from syllabus_client.task_spaces import DiscreteTaskSpace
from syllabus_client.wire import codec
from syllabus_client.wire import curriculum_pb2 as pb
from syllabus_service.curricula.registry import names
from tests.service.serving import spec

NEXT = 7_777_777
"""A sequence that is to be replaced by the session's next one."""

OWN = b"own checkpoint"
"""A checkpoint that is to be replaced by the curriculum's own."""

CURRICULA = ("maze", "box", "olp", "plr", "manual", "stages", "play", "huge", "pairs")
"""The curricula that requests are about."""

DELETED = tuple(f"c{number}" for number in range(8))
"""The curricula that are created and deleted."""

BAD_NAMES = ("", "nowhere", "a b", "x" * 129, "../etc", "ma\u0161a", "maze\0")
ALGORITHMS = (*names(), "", "nothing", "os:system", "builtins:eval", "tests.security.calls:Agents")
PARAMS = (
    "ema_alpha",
    "strategy",
    "temperature",
    "batch_size",
    "buffer_size",
    "default_task",
    "stages",
    "x",
    "curricula",
)

_KEYS = ("add_tasks", "tasks", "values", "rewards", "next_values", "dones", "env_ids", "scores", "score")
_PLAIN = ("domain_randomization", "manual", "prioritized_level_replay", "self_play")  # they need no parameters
_DTYPES = {
    "assignment_id": np.uint64,
    "released": np.uint64,
    "length": np.int64,
    "env_id": np.int64,
    "stratum": np.int64,
    "task": np.int64,
    "terminated": np.bool_,
    "truncated": np.bool_,
}
_ALL_DTYPES = (*("f8", "f4", "f2", "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1"), "?")
_WRONG = ("dtype", "values", "values", "rows", "rank", "shape", "bytes", "unset")
_EDGES = {
    "f": [0.0, 1.0, 0.5, -1.0, np.nan, np.inf, -np.inf, 1e308, 5e-324],
    "i": [0, 1, 2, 9, 10, -1, 2**31, 2**63 - 1, -(2**63)],
    "u": [0, 1, 2, 3, 2**62, 2**64 - 1],
    "b": [0, 1],
}
_usually = st.integers(0, 9).map(lambda number: number != 3)
_rarely = st.integers(0, 29).map(lambda number: number == 3)
_json = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers(-3, 3) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)


@st.composite
def tensors(draw: st.DrawFn, name: str, rows: int) -> pb.Tensor:
    """A column, as its name asks for, of so many rows; or one that is wrong somewhere."""
    wrong = draw(st.sampled_from(_WRONG)) if draw(_rarely) else ""
    dtype = np.dtype(_DTYPES.get(name, np.float64))
    if wrong == "dtype":
        dtype = np.dtype(draw(st.sampled_from(_ALL_DTYPES)))
    if wrong == "rows":
        rows = draw(st.sampled_from([0, 1, rows + 1, 70_000]))
    if wrong == "values":
        edges = np.array(_EDGES[dtype.kind]).astype(dtype)
        array = np.array(draw(st.lists(st.sampled_from(range(len(edges))), min_size=rows, max_size=rows)), np.int64)
        array = edges[array]
    else:
        array = np.full(rows, draw(st.integers(0, 1))).astype(dtype)
    if wrong == "rank":
        array = array.reshape(draw(st.sampled_from([(rows, 1), (1, rows), (1,) * 20 + (rows,)])))
    tensor = codec.to_tensor(array)
    if wrong == "shape":
        tensor.shape[:] = draw(
            st.lists(st.sampled_from([-1, 0, 1, 2, 2**31, 2**62, 2**63 - 1, -(2**63)]), max_size=5)
            | st.just([1] * 100)
            | st.just([0, 2**62, 2**62])
        )
    elif wrong == "bytes":
        tensor.data = draw(st.binary(max_size=40))
    elif wrong == "unset":
        tensor.dtype = draw(st.sampled_from([0, 13, 2**31 - 1]))
    return tensor


_NUMBERS = {
    FieldDescriptor.CPPTYPE_INT32: st.sampled_from([0, 1, -1, 2**31 - 1, -(2**31)]),
    FieldDescriptor.CPPTYPE_INT64: st.sampled_from([0, 1, 2, 60, -1, 2**62, 2**63 - 1, -(2**63)]),
    FieldDescriptor.CPPTYPE_UINT32: st.integers(0, 5) | st.sampled_from([65_537, 2**31, 2**32 - 1]),
    FieldDescriptor.CPPTYPE_UINT64: st.integers(0, 5) | st.sampled_from([2**32, 2**62, 2**63, 2**64 - 1]),
    FieldDescriptor.CPPTYPE_DOUBLE: st.floats(),
    FieldDescriptor.CPPTYPE_FLOAT: st.floats(width=32),
    FieldDescriptor.CPPTYPE_BOOL: st.booleans(),
    FieldDescriptor.CPPTYPE_ENUM: st.integers(0, 4),
    FieldDescriptor.CPPTYPE_STRING: st.text(max_size=8),
}


@st.composite
def messages(draw: st.DrawFn, descriptor: Descriptor, checkpoints: tuple[bytes, ...] = (), depth: int = 0) -> Message:
    """A message of this descriptor."""
    message = GetMessageClass(descriptor)()
    rows = draw(st.integers(0, 3))
    if descriptor.name == "CustomUpdateRequest" and draw(st.booleans()):  # one that is taken, if nothing is wrong
        tasks = draw(tensors("task", rows))
        return pb.CustomUpdateRequest(curriculum="manual", session_id="s1", sequence=NEXT, arrays={"tasks": tasks})
    for field in descriptor.fields:
        in_oneof = field.containing_oneof is not None
        if message.WhichOneof(field.containing_oneof.name) if in_oneof else draw(_rarely):
            continue
        if in_oneof and field is not field.containing_oneof.fields[-1] and draw(st.booleans()):
            continue
        value = _value(draw, field, rows, checkpoints, depth)
        if value is None:
            continue
        _set(message, field, value)
    return message


def _set(message: Message, field: FieldDescriptor, value: Any) -> None:
    target = getattr(message, field.name)
    if field.is_repeated and field.message_type is not None and field.message_type.GetOptions().map_entry:
        for key, each in value.items():
            if isinstance(each, Message):
                target[key].CopyFrom(each)
            else:
                target[key] = each
    elif field.is_repeated:
        target.extend(value)
    elif isinstance(value, Message):
        target.CopyFrom(value)
        target.SetInParent()
    else:
        setattr(message, field.name, value)


def _value(draw: st.DrawFn, field: FieldDescriptor, rows: int, checkpoints: tuple[bytes, ...], depth: int) -> Any:
    """What a field is given: by its name where that says more than its type. None: nothing."""
    kind = field.message_type
    if kind is not None and kind.GetOptions().map_entry:
        keys = st.sampled_from(_KEYS) if draw(_usually) else st.sampled_from(["a b", "", "x" * 65])
        return {key: draw(tensors("values", rows)) for key in draw(st.lists(keys, max_size=3))}
    if field.is_repeated:
        return (
            [_one(draw, field, rows, checkpoints, depth) for _ in range(draw(st.integers(0, 2)))] if depth < 6 else []
        )
    return _one(draw, field, rows, checkpoints, depth) if depth < 6 or kind is None else None


def _one(draw: st.DrawFn, field: FieldDescriptor, rows: int, checkpoints: tuple[bytes, ...], depth: int) -> Any:
    name, kind = field.name, field.message_type
    if kind is not None:
        if kind.full_name == "syllabus.v1.Tensor":
            return draw(tensors(name, rows))
        if kind.full_name == "google.protobuf.Struct":
            message = kind._concrete_class()
            message.update(draw(st.dictionaries(st.sampled_from(PARAMS), _json, max_size=3)))
            return message
        if name == "spec" and draw(st.booleans()):
            return spec(draw(st.sampled_from(_PLAIN)), DiscreteTaskSpace(draw(st.integers(1, 9))))
        return draw(messages(kind, checkpoints, depth + 1))
    if name == "curriculum" and field.containing_type.name == "DeleteCurriculumRequest":
        return draw(st.sampled_from([*DELETED, *BAD_NAMES]))
    if name == "curriculum" and "Agent" in field.containing_type.name and draw(st.booleans()):
        return "play"
    if name == "curriculum":
        return draw(st.sampled_from(CURRICULA)) if draw(_usually) else draw(st.sampled_from(BAD_NAMES))
    if name == "name":
        return draw(st.sampled_from([*DELETED, *CURRICULA, *BAD_NAMES]))
    if name == "algorithm":
        return draw(st.sampled_from(ALGORITHMS))
    if name == "session_id":
        return draw(st.sampled_from(["s1", "s2", "s3"])) if draw(_usually) else draw(st.sampled_from(BAD_NAMES))
    if name == "sequence":
        return NEXT if draw(_usually) else draw(st.sampled_from([0, 1, 2, 1000, 2**63, 2**64 - 1]))
    if name == "acknowledged_sequence":
        return 0 if draw(_usually) else draw(st.sampled_from([1, 2, 2**64 - 1]))
    if name == "incarnation":
        return 0 if draw(_usually) else 5
    if name == "checkpoint":
        return draw(st.sampled_from((OWN, *checkpoints)) | st.just(OWN) | st.binary(max_size=60))
    if name == "json_tasks":
        return draw(st.sampled_from(['"cat"', "1", "[1, 2]", "{", "NaN", "1e999", "[" * 5000]))
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING and field.type == FieldDescriptor.TYPE_BYTES:
        return draw(st.binary(max_size=30))
    return draw(_NUMBERS[field.cpp_type])
