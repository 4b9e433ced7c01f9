"""The one codec between messages and numpy."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from syllabus_client.wire import curriculum_pb2 as pb

_DTYPES: dict[int, np.dtype] = {
    pb.DATA_TYPE_FLOAT64: np.dtype("<f8"),
    pb.DATA_TYPE_FLOAT32: np.dtype("<f4"),
    pb.DATA_TYPE_FLOAT16: np.dtype("<f2"),
    pb.DATA_TYPE_INT64: np.dtype("<i8"),
    pb.DATA_TYPE_INT32: np.dtype("<i4"),
    pb.DATA_TYPE_INT16: np.dtype("<i2"),
    pb.DATA_TYPE_INT8: np.dtype("i1"),
    pb.DATA_TYPE_UINT64: np.dtype("<u8"),
    pb.DATA_TYPE_UINT32: np.dtype("<u4"),
    pb.DATA_TYPE_UINT16: np.dtype("<u2"),
    pb.DATA_TYPE_UINT8: np.dtype("u1"),
    pb.DATA_TYPE_BOOL: np.dtype("?"),
}
_DTYPE_IDS = {dtype: number for number, dtype in _DTYPES.items()}


class InvalidFieldError(ValueError):
    """A message holds something that its contract forbids.

    Attributes:
        field: path of the field, such as ``episodes.length``.
        expected: what the contract asks for, as a sentence's end.
    """

    def __init__(self, field: str, expected: str) -> None:
        super().__init__(f"{field}: {expected}")
        self.field = field
        self.expected = expected


def to_tensor(array: np.ndarray | float | int | bool | list) -> pb.Tensor:
    """Return ``array`` as a Tensor. Raises TypeError for a dtype that the wire does not carry. O(size), one copy."""
    tensor = pb.Tensor()
    fill_tensor(tensor, np.asarray(array))
    return tensor


def fill_tensor(tensor: pb.Tensor, array: np.ndarray) -> None:
    """Make an empty Tensor, such as a field of another message, hold ``array``; otherwise as ``to_tensor``."""
    number = _DTYPE_IDS.get(array.dtype) or _DTYPE_IDS.get(array.dtype.newbyteorder("<"))
    if number is None:
        raise TypeError(f"arrays of dtype {array.dtype} do not travel; use a number or bool dtype of at most 64 bits")
    tensor.dtype = number  # type: ignore[assignment]
    tensor.shape.extend(array.shape)
    tensor.data = np.asarray(array, dtype=_DTYPES[number]).tobytes()


def from_tensor(tensor: pb.Tensor, field: str) -> np.ndarray:
    """Return a read-only view on the tensor's bytes. O(1).

    Raises InvalidFieldError, naming ``field``, unless the bytes fit dtype and shape.
    """
    dtype = _DTYPES.get(tensor.dtype)
    if dtype is None:
        raise InvalidFieldError(
            f"{field}.dtype", "expected one of the DataType values other than DATA_TYPE_UNSPECIFIED"
        )
    shape, data = tuple(tensor.shape), tensor.data
    size = 1
    for length in shape:
        if length < 0:
            raise InvalidFieldError(f"{field}.shape", f"expected no negative length, got {list(shape)}")
        size *= length
    if size * dtype.itemsize != len(data):
        expected = f"expected {size * dtype.itemsize} bytes for shape {list(shape)} of {dtype.name}"
        raise InvalidFieldError(f"{field}.data", f"{expected}, got {len(data)}")
    array = np.frombuffer(data, dtype=dtype)
    if dtype.kind == "b" and array.size and array.view(np.uint8).max() > 1:
        raise InvalidFieldError(f"{field}.data", "expected bool bytes of 0 or 1")
    if len(shape) == 1:
        return array
    try:
        return array.reshape(shape)
    except ValueError as error:  # more dimensions, or larger ones, than numpy can index
        raise InvalidFieldError(f"{field}.shape", f"expected a shape that numpy can hold: {error}") from error


def column(
    tensor: pb.Tensor,
    field: str,
    dtype: type | np.dtype,
    row_shape: tuple[int, ...] = (),
    rows: int | None = None,
) -> np.ndarray:
    """Return a column: an array of exactly ``dtype`` and shape ``(rows, *row_shape)``; any number of rows when None."""
    array = from_tensor(tensor, field)
    if array.dtype != dtype:
        raise InvalidFieldError(f"{field}.dtype", f"expected {np.dtype(dtype).name}, got {array.dtype.name}")
    if array.shape[1:] != row_shape or array.ndim != 1 + len(row_shape):
        wanted = ["n" if rows is None else rows, *row_shape]
        raise InvalidFieldError(f"{field}.shape", f"expected {wanted}, got {list(array.shape)}")
    if rows is not None and len(array) != rows:
        raise InvalidFieldError(f"{field}.shape", f"expected {rows} rows, got {len(array)}")
    return array


def finite(array: NDArray[np.floating], field: str, *, allow_nan: bool = False) -> np.ndarray:
    """Return ``array``; raise InvalidFieldError naming the first row that is not finite."""
    good = ~np.isinf(array) if allow_nan else np.isfinite(array)
    if not good.all():
        row = int(np.argwhere(~good)[0][0])
        raise InvalidFieldError(f"{field}[{row}]", f"expected a finite number, got {array[row]}")
    return array


def embedded(field_number: int, data: bytes) -> bytes:
    """A field of a message as protobuf writes it, whose value is bytes or a message that is serialized already.

    Setting such a field in a message would copy the value twice more.
    """
    return _varint(field_number << 3 | 2) + _varint(len(data)) + data


def _varint(number: int) -> bytes:
    if number <= 0x7F:  # as most are
        return bytes((number,))
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def tensor_map(arrays: Mapping[str, np.ndarray]) -> dict[str, pb.Tensor]:
    """Return named arrays as named tensors."""
    return {name: to_tensor(array) for name, array in arrays.items()}
