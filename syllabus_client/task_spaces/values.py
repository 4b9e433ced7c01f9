"""JSON-able values as tasks: which are equal, how they are copied, how they are written."""

from __future__ import annotations

import copy
import json
import math
from typing import Any

import numpy as np

_SCALARS = (str, int, float, bool, type(None))


def plain(value: Any) -> Any:
    """``value`` with numpy scalars made into Python's, at any depth; lists, tuples and dicts stay what they are.

    Raises TypeError for what JSON cannot say: other types, keys that are not strings, numbers that are not finite.
    """
    if isinstance(value, np.generic) or (isinstance(value, np.ndarray) and value.ndim == 0):
        value = value.item()
    if type(value) in _SCALARS:
        if type(value) is float and not math.isfinite(value):
            raise TypeError(f"expected a finite number, got {value}")
        return value
    if isinstance(value, np.ndarray):
        return [plain(item) for item in value.tolist()]
    if type(value) in (list, tuple):
        return type(value)(plain(item) for item in value)
    if type(value) is dict:
        for name in value:
            if type(name) is not str:
                raise TypeError(f"expected an object whose keys are strings, got the key {name!r}")
        return {name: plain(item) for name, item in value.items()}
    raise TypeError(f"expected a value that JSON can say, got a {type(value).__name__}")


def key(value: Any) -> Any:
    """What equal tasks have in common, hashable: 1 and 1.0 are equal, a list and a tuple; 1 and True are not.

    Raises TypeError as ``plain``.
    """
    kind = type(value)
    if kind is str or kind is int or value is None:
        return value
    value = plain(value)
    if type(value) in (bool, list, tuple, dict):
        return (json.dumps(_canonical(value), sort_keys=True),)  # a tuple, so that it equals no string
    return value


def own(value: Any) -> Any:
    """A plain value that shares nothing with the given one that could be changed."""
    return value if type(value) in _SCALARS else copy.deepcopy(value)


def to_json(value: Any) -> str:
    """The JSON text of a plain value."""
    return json.dumps(value, allow_nan=False)


def from_json(text: str) -> Any:
    """The value of a JSON text. Raises ValueError for anything else, values nested too deeply included."""
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise ValueError("expected a value that is nested less deeply") from error


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"expected a finite number, got {name}")


def _canonical(value: Any) -> Any:
    if type(value) is float and value.is_integer():
        return int(value)
    if type(value) in (list, tuple):
        return [_canonical(item) for item in value]
    if type(value) is dict:
        return {name: _canonical(item) for name, item in value.items()}
    return value
