"""State as bytes: what goes in comes out, and damage is found."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from syllabus_service.state_codec import CorruptStateError, StateVersionError, decode_state, encode_state

ARRAYS = hnp.arrays(
    st.sampled_from([np.float64, np.float32, np.int64, np.uint32, np.bool_, np.uint8]),
    hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
)
PLAIN = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**200), 2**200), st.floats(), st.text(max_size=8), st.binary(max_size=8)
)
STATES = st.recursive(
    PLAIN | ARRAYS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=5) | st.integers(), inner, max_size=3)
    ),
    max_leaves=12,
)


def same(one, other) -> bool:
    if type(one) is not type(other):
        return False
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(same(a, b) for a, b in zip(one, other, strict=True))
    return one == other or (one != one and other != other)


@given(STATES)
def test_a_state_comes_back_as_it_was(state):
    assert same(decode_state(encode_state(state)), state)


@given(st.data())
def test_damaged_bytes_are_refused(data):
    good = encode_state({"array": np.arange(10), "text": "x"})
    place = data.draw(st.integers(0, len(good) - 1))
    bit = data.draw(st.integers(0, 7))
    damaged = bytearray(good)
    damaged[place] ^= 1 << bit
    with pytest.raises(CorruptStateError):
        decode_state(bytes(damaged))


@given(st.binary(max_size=60))
def test_any_other_bytes_are_refused(data):
    with pytest.raises(CorruptStateError):
        decode_state(data)


def test_what_cannot_be_saved_is_named():
    with pytest.raises(TypeError, match=r"state\.inner\[1\]: values of type object"):
        encode_state({"inner": [1, object()]})
    with pytest.raises(TypeError, match=r"state\.names: arrays of dtype object"):
        encode_state({"names": np.array([object()])})


def test_numpy_scalars_come_back_as_arrays_without_dimensions():
    assert decode_state(encode_state(np.float32(0.25))).item() == 0.25


def test_what_the_version_before_has_saved_is_read_and_a_later_one_is_refused_by_its_number():
    data = encode_state({"task": 3})
    version = struct.unpack_from("<H", data, 4)[0]
    assert version > 1
    assert decode_state(data[:4] + struct.pack("<H", version - 1) + data[6:]) == {"task": 3}
    with pytest.raises(StateVersionError, match=f"version {version + 1}.*up to {version}"):
        decode_state(data[:4] + struct.pack("<H", version + 1) + data[6:])
