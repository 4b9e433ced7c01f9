"""Task spaces to and from the contract's message. Nothing of a message is trusted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from syllabus_client.task_spaces import values
from syllabus_client.task_spaces.base import TaskSpace
from syllabus_client.task_spaces.box import BoxTaskSpace
from syllabus_client.task_spaces.discrete import DiscreteTaskSpace
from syllabus_client.task_spaces.multi_discrete import MultiDiscreteTaskSpace
from syllabus_client.task_spaces.product import TupleTaskSpace
from syllabus_client.task_spaces.stratified import StratifiedDiscreteTaskSpace
from syllabus_client.wire import codec
from syllabus_client.wire import curriculum_pb2 as pb
from syllabus_client.wire.codec import InvalidFieldError

MAX_DEPTH = 8
"""How deeply tuple spaces may nest."""

_ENCODINGS = {"flat": pb.PRODUCT_ENCODING_FLAT, "tuple": pb.PRODUCT_ENCODING_TUPLE}


def to_message(space: TaskSpace) -> pb.TaskSpace:
    """See ``TaskSpace.to_proto``."""
    message = pb.TaskSpace(task_names=space.task_names or ())
    if type(space) is StratifiedDiscreteTaskSpace:
        message.stratified_discrete.tasks.CopyFrom(_discrete_to_message(space))
        message.stratified_discrete.stratum.CopyFrom(codec.to_tensor(space.stratum))
    elif type(space) is DiscreteTaskSpace:
        message.discrete.CopyFrom(_discrete_to_message(space))
    elif type(space) is MultiDiscreteTaskSpace:
        message.multi_discrete.components.extend(_discrete_to_message(component) for component in space.components)
        message.multi_discrete.encoding = _ENCODINGS[space.encoding]
    elif type(space) is BoxTaskSpace:
        message.box.low.CopyFrom(codec.to_tensor(space.low))
        message.box.high.CopyFrom(codec.to_tensor(space.high))
    elif type(space) is TupleTaskSpace:
        message.tuple.components.extend(to_message(component) for component in space.components)
    else:
        raise TypeError(f"the wire does not carry a task space of class {type(space).__name__}")
    return message


def from_message(message: pb.TaskSpace, field: str, depth: int = 0) -> TaskSpace:
    """See ``TaskSpace.from_proto``."""
    kind = message.WhichOneof("kind")
    names = list(message.task_names) or None
    if kind is None:
        raise InvalidFieldError(f"{field}.kind", "expected one of the kinds of task space")
    path = f"{field}.{kind}"
    if kind == "tuple":
        if depth >= MAX_DEPTH:
            raise InvalidFieldError(path, f"expected at most {MAX_DEPTH} tuple spaces inside each other")
        components = [
            from_message(component, f"{path}.components[{i}]", depth + 1)
            for i, component in enumerate(message.tuple.components)
        ]
        with _naming(path):
            space: TaskSpace = TupleTaskSpace(components)
    elif kind == "multi_discrete":
        space = _multi_discrete_from_message(message.multi_discrete, path)
    elif kind == "box":
        low = codec.from_tensor(message.box.low, f"{path}.low")
        high = codec.from_tensor(message.box.high, f"{path}.high")
        if high.dtype != low.dtype or high.shape != low.shape:
            raise InvalidFieldError(f"{path}.high", "expected the dtype and shape of low")
        if low.dtype.kind == "b":
            raise InvalidFieldError(f"{path}.low.dtype", "expected a float or integer type")
        with _naming(path):
            space = BoxTaskSpace(low, high)
    elif kind == "stratified_discrete":
        tasks = _discrete_from_message(message.stratified_discrete.tasks, f"{path}.tasks")
        rows = codec.from_tensor(message.stratified_discrete.stratum, f"{path}.stratum")
        if rows.shape != (tasks.num_tasks,) or rows.dtype != np.int64:
            raise InvalidFieldError(f"{path}.stratum", f"expected int64 [{tasks.num_tasks}], one for each task")
        with _naming(path, strata="stratum"):
            space = StratifiedDiscreteTaskSpace(tasks, rows)
    else:
        space = _discrete_from_message(message.discrete, path)
    with _naming(field):
        return space if names is None else space.named(names)


def _discrete_to_message(space: DiscreteTaskSpace) -> pb.DiscreteTaskSpace:
    if space.is_integer:
        return pb.DiscreteTaskSpace(num_tasks=space.num_tasks, start=space.start)
    return pb.DiscreteTaskSpace(num_tasks=space.num_tasks, json_tasks=map(values.to_json, space.tasks))


def _discrete_from_message(message: pb.DiscreteTaskSpace, field: str) -> DiscreteTaskSpace:
    if message.num_tasks < 1:
        raise InvalidFieldError(f"{field}.num_tasks", "expected at least 1")
    if not message.json_tasks:
        with _naming(field, tasks="num_tasks"):
            return DiscreteTaskSpace(_whole(message.num_tasks), start=message.start)
    if len(message.json_tasks) != message.num_tasks:
        raise InvalidFieldError(f"{field}.json_tasks", f"expected {message.num_tasks}, got {len(message.json_tasks)}")
    if message.start != 0:
        raise InvalidFieldError(f"{field}.start", "expected 0 beside json_tasks")
    tasks: list[Any] = []
    for i, text in enumerate(message.json_tasks):
        try:
            tasks.append(values.from_json(text))
        except ValueError as error:
            raise InvalidFieldError(f"{field}.json_tasks[{i}]", f"expected a JSON text: {error}") from error
    with _naming(field, tasks="json_tasks"):
        return DiscreteTaskSpace(tasks)


def _multi_discrete_from_message(message: pb.MultiDiscreteTaskSpace, field: str) -> MultiDiscreteTaskSpace:
    components = [
        _discrete_from_message(component, f"{field}.components[{i}]") for i, component in enumerate(message.components)
    ]
    if message.encoding in (pb.PRODUCT_ENCODING_UNSPECIFIED, pb.PRODUCT_ENCODING_FLAT):
        encoding = "flat"
    elif message.encoding == pb.PRODUCT_ENCODING_TUPLE:
        encoding = "tuple"
    else:
        raise InvalidFieldError(f"{field}.encoding", "expected one of the ProductEncoding values")
    with _naming(field):
        return MultiDiscreteTaskSpace(components, encoding)  # type: ignore[arg-type]


def _whole(num_tasks: int) -> int:
    if num_tasks > 2**63 - 1:
        raise ValueError(f"tasks: expected at most 2**63 - 1, got {num_tasks}")
    return num_tasks


@contextmanager
def _naming(field: str, **renamed: str) -> Iterator[None]:
    """What a constructor refuses, as InvalidFieldError: its argument, maybe renamed, becomes part of the path."""
    try:
        yield
    except InvalidFieldError:
        raise
    except (ValueError, TypeError) as error:
        argument, _, expected = str(error).partition(": ")
        name, bracket, rest = argument.partition("[")
        path = renamed.get(name, name) + bracket + rest
        raise InvalidFieldError(f"{field}.{path}", expected) from error
