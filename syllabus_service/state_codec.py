"""State as bytes: plain values and arrays, nested; checksummed, versioned, and nothing in it is ever executed."""

from __future__ import annotations

import json
import math
import struct
import zlib
from typing import Any

import numpy as np

_MAGIC = b"SYLB"
# 2: a kept answer's fingerprint is of every k-th byte of a large payload, which a program of version 1 would take for
# another's; games of self-play are counted in narrow types. What version 1 has saved is read as well.
_VERSION = 2
_PREFIX = struct.Struct("<4sHIQ")  # magic, version, crc32 of what follows, length of the header
_KINDS = "biufc?"


class CorruptStateError(ValueError):
    """These bytes are no state, or are damaged, or are of a version that cannot be read."""


class StateVersionError(CorruptStateError):
    """These bytes are of a later version than this program knows."""


def encode_state(value: Any) -> bytes:
    """Encode None, bool, int, float, str, bytes, list, tuple, dict and numpy arrays of numbers. O(size).

    Raises TypeError, naming the place, for anything else.
    """
    blobs: list[memoryview] = []  # views: nothing is copied but into the result
    header = json.dumps({"value": _pack(value, "state", blobs), "blobs": [len(blob) for blob in blobs]}).encode()
    crc = zlib.crc32(header)
    for blob in blobs:
        crc = zlib.crc32(blob, crc)
    return b"".join([_PREFIX.pack(_MAGIC, _VERSION, crc, len(header)), header, *blobs])


def decode_state(data: bytes) -> Any:
    """The inverse of ``encode_state``; the arrays are writable copies.

    Raises CorruptStateError, StateVersionError.
    """
    if len(data) < _PREFIX.size:
        raise CorruptStateError(f"expected at least {_PREFIX.size} bytes, got {len(data)}")
    magic, version, checksum, header_length = _PREFIX.unpack_from(data)
    if magic != _MAGIC:
        raise CorruptStateError("expected bytes that a curriculum service has saved")
    if version > _VERSION:
        raise StateVersionError(f"is of format version {version}, and this program knows up to {_VERSION}")
    if version < 1:
        raise CorruptStateError(f"expected a format version of at least 1, got {version}")
    body = memoryview(data)[_PREFIX.size :]
    if zlib.crc32(body) != checksum:
        raise CorruptStateError("the checksum does not match: the bytes are damaged or cut short")
    try:
        header = json.loads(bytes(body[:header_length]))
        blobs, offset = [], header_length
        for length in header["blobs"]:
            blobs.append(body[offset : offset + length])
            offset += length
        return _unpack(header["value"], blobs)
    except (KeyError, IndexError, TypeError, ValueError, RecursionError) as error:
        raise CorruptStateError(f"the header is malformed: {error!r}") from error


def _pack(value: Any, path: str, blobs: list[memoryview]) -> Any:
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"$": "float", "text": repr(value)}
    if isinstance(value, np.generic):
        value = np.asarray(value)
    if isinstance(value, np.ndarray):
        if value.dtype.kind not in _KINDS:
            raise TypeError(f"{path}: arrays of dtype {value.dtype} cannot be saved")
        blobs.append(np.ascontiguousarray(value).reshape(-1).view(np.uint8).data)
        return {"$": "array", "dtype": value.dtype.str, "shape": list(value.shape), "blob": len(blobs) - 1}
    if isinstance(value, (bytes, bytearray)):
        blobs.append(memoryview(value))
        return {"$": "bytes", "blob": len(blobs) - 1}
    if isinstance(value, list):
        return [_pack(item, f"{path}[{number}]", blobs) for number, item in enumerate(value)]
    if isinstance(value, tuple):
        return {"$": "tuple", "items": [_pack(item, f"{path}[{number}]", blobs) for number, item in enumerate(value)]}
    if isinstance(value, dict):
        items = [[_pack(key, f"{path} key", blobs), _pack(item, f"{path}.{key}", blobs)] for key, item in value.items()]
        return {"$": "dict", "items": items}
    raise TypeError(f"{path}: values of type {type(value).__name__} cannot be saved")


def _unpack(value: Any, blobs: list[memoryview]) -> Any:
    if isinstance(value, list):
        return [_unpack(item, blobs) for item in value]
    if not isinstance(value, dict):
        return value
    kind = value["$"]
    if kind == "dict":
        return {_unpack(key, blobs): _unpack(item, blobs) for key, item in value["items"]}
    if kind == "tuple":
        return tuple(_unpack(item, blobs) for item in value["items"])
    if kind == "bytes":
        return bytes(blobs[value["blob"]])
    if kind == "float":
        return float(value["text"])
    if np.dtype(value["dtype"]).kind not in _KINDS:
        raise ValueError(f"arrays of dtype {value['dtype']} are not read")
    return np.frombuffer(blobs[value["blob"]], dtype=value["dtype"]).reshape(value["shape"]).copy()
