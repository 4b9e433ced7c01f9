"""What learners hand over, whatever library it comes from, as arrays and plain values."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np


def split_metrics(metrics: Mapping[str, Any]) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Numeric arrays by name, and everything else by name.

    Numbers, numpy arrays, tensors of any library and (nested) lists of them become arrays; strings, booleans, None,
    dicts and lists of those become plain values.

    Raises TypeError, naming the metric, for what is neither, and ValueError for a name that is no identifier.
    """
    arrays: dict[str, np.ndarray] = {}
    values: dict[str, Any] = {}
    for name, value in metrics.items():
        array = None if isinstance(value, bool) else as_array(value)
        if array is not None:
            arrays[name] = array
        else:
            values[name] = _plain(value, name)
    return arrays, values


def as_array(value: Any) -> np.ndarray | None:
    """A numeric array of a number, an array, a tensor, or a (nested, even) list of these; None for anything else."""
    if hasattr(value, "detach"):  # a torch tensor, perhaps on a GPU, perhaps with a gradient
        value = value.detach().cpu()
        if str(getattr(value, "dtype", "")) == "torch.bfloat16":
            value = value.float()
        value = value.numpy()
    if isinstance(value, (str, bytes, Mapping)) or value is None:
        return None
    if isinstance(value, (list, tuple)):
        parts = [as_array(item) for item in value]
        if any(part is None for part in parts) or len({part.shape for part in parts if part is not None}) > 1:
            return None
        array = np.array(parts) if parts else np.zeros(0)
    elif isinstance(value, (int, float, np.ndarray, np.generic)) or hasattr(value, "__array__"):
        array = np.asarray(value)
    else:
        return None
    return array if array.dtype.kind in "biuf" else None


def _plain(value: Any, name: str) -> Any:
    try:
        return json.loads(json.dumps(value, default=_plain_item, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"{name}: expected numbers, an array, or strings, booleans, lists and dicts, got "
            f"{type(value).__name__}: {error}"
        ) from error


def _plain_item(value: Any) -> Any:
    array = as_array(value)
    if array is None:
        raise TypeError(f"a {type(value).__name__} does not travel")
    return array.tolist()
