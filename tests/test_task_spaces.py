"""Task spaces: which tasks they hold, how they encode them, and what a message may say about them."""

from __future__ import annotations

import doctest
import importlib
import pickle

import gymnasium
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from syllabus_client.task_spaces import (
    BoxTaskSpace,
    DiscreteTaskSpace,
    MultiDiscreteTaskSpace,
    StratifiedDiscreteTaskSpace,
    TaskNotInSpaceError,
    TaskSpace,
    TupleTaskSpace,
    task_space,
)
from syllabus_client.wire import codec
from syllabus_client.wire import curriculum_pb2 as pb
from syllabus_client.wire.codec import InvalidFieldError

MAX = 2**63 - 1

SPACES = {
    "one task": DiscreteTaskSpace(1),
    "integers": DiscreteTaskSpace(7),
    "integers from a start": DiscreteTaskSpace(5, start=-2),
    "strings": DiscreteTaskSpace(["a", "b", "c"]),
    "unhashable": DiscreteTaskSpace([[1, 2], {"size": 3, "walls": [1]}, None, True, 1, "1", 0.5]),
    "named": DiscreteTaskSpace(2, task_names=["easy", "hard"]),
    "flat product": MultiDiscreteTaskSpace([["a", "b"], 3, range(4, 6)]),
    "product of vectors": MultiDiscreteTaskSpace([["a", "b"], 3, range(4, 6)], "tuple"),
    "float32 box": BoxTaskSpace(np.float32([-1, 0]), np.float32([1, 0.5])),
    "scalar box": BoxTaskSpace(0.25, 0.75),
    "matrix box": BoxTaskSpace(-1.0, 1.0, shape=(2, 3), dtype=np.float16),
    "integer box": BoxTaskSpace([0, -3], [2, 3], dtype=np.int8),
    "strata": StratifiedDiscreteTaskSpace([["a", "b"], ["c"], [[1], [2]]]),
    "strata of integers": StratifiedDiscreteTaskSpace(6, [0, 1, 0, 2, 1, 1], task_names=list("abcdef")),
    "enumerable tuple": TupleTaskSpace([["x", "y"], MultiDiscreteTaskSpace([2, 3], "tuple"), 2]),
    "tuple with a box": TupleTaskSpace(
        [["x", "y"], BoxTaskSpace(0.0, 1.0, shape=(2, 2), dtype=np.float32), (3, BoxTaskSpace(0, 9, dtype=np.int32))]
    ),
}

each_space = pytest.mark.parametrize("space", SPACES.values(), ids=SPACES.keys())


def plain(task):
    """A decoded task as nested tuples, lists and numbers, which can be compared."""
    if isinstance(task, (np.ndarray, np.generic)):
        return task.tolist()
    if isinstance(task, (tuple, list)):
        return [plain(part) for part in task]
    return task


# Every space


@each_space
@given(seed=st.integers(0, 2**32), k=st.integers(0, 20))
@settings(max_examples=25, deadline=None)
def test_encoding_what_was_decoded_gives_the_same_bits(space, seed, k):
    encoded = space.sample(k, np.random.default_rng(seed))
    assert encoded.shape == (k, *space.encoded_shape)
    assert encoded.dtype == space.encoded_dtype
    assert space.contains_encoded(encoded).all()
    tasks = space.decode_many(encoded)
    again = space.encode_many(tasks)
    assert again.dtype == space.encoded_dtype
    assert again.tobytes() == encoded.tobytes()
    assert all(space.contains(task) for task in tasks)


@each_space
def test_a_message_gives_an_equal_space_with_the_same_encoding(space):
    message = space.to_proto()
    again = TaskSpace.from_proto(pb.TaskSpace.FromString(message.SerializeToString()))
    assert again == space
    assert hash(again) == hash(space)
    assert repr(again) == repr(space)
    assert again.to_proto() == message
    encoded = space.sample(10, np.random.default_rng(0))
    assert plain(again.decode_many(encoded)) == plain(space.decode_many(encoded))
    assert again.sample(5, np.random.default_rng(3)).tobytes() == space.sample(5, np.random.default_rng(3)).tobytes()


@each_space
def test_a_space_survives_pickling(space):
    assert pickle.loads(pickle.dumps(space)) == space


def test_no_two_of_the_spaces_are_equal():
    spaces = list(SPACES.values())
    for i, one in enumerate(spaces):
        assert [one == other for other in spaces] == [i == j for j in range(len(spaces))]


@pytest.mark.parametrize(
    "space", [s for s in SPACES.values() if s.num_tasks], ids=[n for n in SPACES if SPACES[n].num_tasks]
)
def test_an_enumerable_space_is_indexed_in_order_and_sampled_uniformly(space):
    index = np.arange(space.num_tasks)
    encoded = space.from_index(index)
    assert space.to_index(encoded).tolist() == index.tolist()
    assert len({repr(task) for task in space.decode_many(encoded)}) == space.num_tasks
    draws = 400 * space.num_tasks
    counts = np.bincount(space.to_index(space.sample(draws, np.random.default_rng(7))), minlength=space.num_tasks)
    # Each count is binomial; six standard deviations around its mean.
    assert np.abs(counts - 400).max() <= 6 * np.sqrt(400)


@pytest.mark.parametrize("num_tasks", [1, 3, 2**31, 2**32 - 1, 2**32, 2**40, 2**63 - 1])
def test_tasks_drawn_one_by_one_are_those_drawn_together(num_tasks):
    space = DiscreteTaskSpace(num_tasks)
    one, all_at_once = (np.random.Generator(np.random.PCG64(3)) for _ in range(2))
    singly = np.concatenate([space.sample(1, one) for _ in range(33)])
    together = space.sample(33, all_at_once)
    assert (singly.dtype, singly.tolist()) == (together.dtype, together.tolist())
    assert one.bit_generator.state == all_at_once.bit_generator.state


@each_space
def test_an_encoding_that_is_none_is_refused(space):
    bad = np.full((2, *space.encoded_shape), -128, dtype=space.encoded_dtype)
    bad[0] = space.sample(1, np.random.default_rng(0))[0]
    assert space.contains_encoded(bad).tolist() == [True, False]
    with pytest.raises(TaskNotInSpaceError, match="-128"):
        space.decode_many(bad)
    with pytest.raises(TaskNotInSpaceError, match="expected shape"):
        space.decode_many(np.zeros((2, *space.encoded_shape, 3)))


@each_space
@pytest.mark.parametrize("task", ["no such task", ("no", "such"), 99, [99, 99], None, float("nan"), True, object(), {}])
def test_a_task_that_is_not_in_the_space_is_refused_by_name(space, task):
    if space is SPACES["unhashable"] and (task is None or task is True):
        assert space.contains(task)  # these are tasks there
        return
    assert not space.contains(task)
    with pytest.raises(TaskNotInSpaceError, match="is not in"):
        space.encode_many([*space.decode_many(space.sample(1, np.random.default_rng(0))), task])


@each_space
def test_a_decoded_task_is_the_callers_own(space):
    encoded = space.sample(4, np.random.default_rng(5))
    before = plain(space.decode_many(encoded))
    for task in space.decode_many(encoded):
        if isinstance(task, (list, dict)):
            task.clear()
        elif isinstance(task, np.ndarray):
            task[...] = 0
    assert plain(space.decode_many(encoded)) == before


def test_not_enumerable_spaces_have_no_number_of_tasks_and_no_index():
    for space in (SPACES["float32 box"], SPACES["tuple with a box"]):
        assert space.num_tasks is None
        with pytest.raises(TypeError, match="not enumerable"):
            space.to_index(space.sample(1, np.random.default_rng(0)))


@pytest.mark.parametrize("module", ["discrete", "stratified", "multi_discrete", "box", "product"])
def test_the_examples_in_the_documentation_hold(module):
    result = doctest.testmod(importlib.import_module(f"syllabus_client.task_spaces.{module}"))
    assert result.attempted > 0
    assert result.failed == 0


# Discrete


def test_integers_are_never_materialised():
    space = DiscreteTaskSpace(MAX)
    assert space.num_tasks == MAX
    assert space.encode(MAX - 1) == MAX - 1
    assert space.decode(MAX - 1) == MAX - 1
    assert not space.contains(MAX)
    assert not space.contains(2**64)
    assert not space.contains(-1)
    low = DiscreteTaskSpace(MAX, start=-(2**63))
    assert low.encode(-(2**63)) == 0
    assert low.encode(-2) == MAX - 1
    assert low.decode(MAX - 1) == -2
    assert TaskSpace.from_proto(low.to_proto()) == low
    with pytest.raises(ValueError, match="tasks"):
        DiscreteTaskSpace(MAX, start=2)
    with pytest.raises((TypeError, ValueError), match="tasks"):
        DiscreteTaskSpace(2**63)


def test_a_million_integers_are_encoded_as_columns():
    space = DiscreteTaskSpace(10**6, start=5)
    tasks = np.arange(5, 10**6 + 5)
    expected = np.arange(10**6)
    assert np.array_equal(space.encode_many(tasks.tolist()), expected)
    assert np.array_equal(space.encode_many(tasks), expected)
    assert np.array_equal(space.encode_many(range(5, 10**6 + 5)), expected)
    assert space.decode_many(expected) == tasks.tolist()


@pytest.mark.parametrize("task", [3, 3.0, np.int8(3), np.uint64(3), np.float32(3.0), np.array(3)])
def test_any_spelling_of_a_whole_number_is_that_task(task):
    assert DiscreteTaskSpace(5).encode(task) == 3
    assert DiscreteTaskSpace([1, "three", 3]).encode(task) == 2
    assert DiscreteTaskSpace(5).encode_many([0, task]).tolist() == [0, 3]


@pytest.mark.parametrize("task", [True, False, np.bool_(True), 0.5, "1", None, [1], np.array([1])])
def test_what_only_looks_like_a_number_is_no_integer_task(task):
    assert not DiscreteTaskSpace(5).contains(task)
    with pytest.raises(TaskNotInSpaceError):
        DiscreteTaskSpace(5).encode_many([2, task])


def test_true_is_a_task_where_it_was_given():
    assert DiscreteTaskSpace([True, 1, "x"]).encode_many([1, True, "x"]).tolist() == [1, 0, 2]


def test_a_list_and_a_tuple_of_equal_elements_are_one_task():
    space = DiscreteTaskSpace([(1, "a"), (2, "b")])
    assert space.encode_many([[2, "b"], (1.0, "a"), np.array([2, "b"], dtype=object)]).tolist() == [1, 0, 1]
    assert space.decode(0) == (1, "a")
    assert TaskSpace.from_proto(space.to_proto()).decode(0) == [1, "a"]


def test_consecutive_integers_however_given_are_one_space():
    assert DiscreteTaskSpace([4, 5, 6]) == DiscreteTaskSpace(3, start=4) == DiscreteTaskSpace(range(4, 7))
    assert DiscreteTaskSpace(np.array([4, 5, 6])) == DiscreteTaskSpace(range(4, 7))
    assert DiscreteTaskSpace([4, 6, 5]) != DiscreteTaskSpace(range(4, 7))
    assert DiscreteTaskSpace(range(0, 6, 2)).tasks == [0, 2, 4]


def test_syllabus_form_with_a_number_and_a_list_is_understood():
    assert DiscreteTaskSpace(3, ["a", "b", "c"]) == DiscreteTaskSpace(["a", "b", "c"])
    assert DiscreteTaskSpace(gymnasium.spaces.Discrete(2), ["a", "b"]) == DiscreteTaskSpace(["a", "b"])
    with pytest.raises(ValueError, match="expected their number"):
        DiscreteTaskSpace(2, ["a", "b", "c"])


@pytest.mark.parametrize(
    ("tasks", "error"),
    [
        (["a", "b", "a"], r"tasks\[2\]"),
        ([1, 2, 1.0], r"tasks\[2\]"),
        ([[1, 2], (1, 2)], r"tasks\[1\]"),
        ([1, float("nan")], r"tasks\[1\].*finite"),
        (["a", object()], r"tasks\[1\].*JSON"),
        ([{1: 2}], r"tasks\[0\].*key"),
        ([], "at least one"),
        (0, "at least one"),
        (-3, "at least one"),
        (True, "number"),
        ("abc", "number"),
        (1.5, "number"),
    ],
)
def test_what_makes_no_set_of_tasks_is_refused_with_its_place(tasks, error):
    with pytest.raises((ValueError, TypeError), match=error):
        DiscreteTaskSpace(tasks)


def test_names_are_one_for_each_task():
    assert SPACES["named"].task_name(1) == "hard"
    assert SPACES["strings"].task_name(1) == "b"
    assert SPACES["flat product"].task_name(4) == "('a', 2, 4)"
    names = [f"{i}" for i in range(12)]
    assert MultiDiscreteTaskSpace([2, 6], "tuple", task_names=names).task_name([1, 2]) == "8"
    with pytest.raises(ValueError, match="task_names"):
        DiscreteTaskSpace(3, task_names=["a"])
    with pytest.raises(ValueError, match="cannot be enumerated"):
        BoxTaskSpace(0.0, 1.0).named(["a"])


# Products


def test_in_a_product_the_last_component_varies_fastest():
    space = MultiDiscreteTaskSpace([["a", "b"], 3])
    assert space.decode_many(np.arange(6)) == [("a", 0), ("a", 1), ("a", 2), ("b", 0), ("b", 1), ("b", 2)]
    vectors = MultiDiscreteTaskSpace([["a", "b"], 3], "tuple")
    assert vectors.encode_many([("b", 2), ["a", 1]]).tolist() == [[1, 2], [0, 1]]
    assert vectors.encode_many([]).shape == (0, 2)


def test_the_first_task_outside_a_product_is_the_one_named():
    space = MultiDiscreteTaskSpace([["a", "b"], 3])
    with pytest.raises(TaskNotInSpaceError, match=r"\('a', 7\)"):
        space.encode_many([("b", 1), ("a", 7), ("c", 0)])
    with pytest.raises(TaskNotInSpaceError, match=r"\('a',\)"):
        space.encode_many([("b", 1), ("a",)])


def test_a_product_beyond_63_bits_is_refused():
    assert MultiDiscreteTaskSpace([2**31, 2**31]).num_tasks == 2**62
    for make in (MultiDiscreteTaskSpace, TupleTaskSpace):
        with pytest.raises(ValueError, match=r"2\*\*63"):
            make([2**32, 2**31])
        with pytest.raises(ValueError, match="at least one"):
            make([])


def test_a_tuple_with_a_box_refuses_ids_that_a_float_cannot_hold():
    TupleTaskSpace([2**53, BoxTaskSpace(0.0, 1.0)])
    with pytest.raises(ValueError, match=r"components\[0\]"):
        TupleTaskSpace([2**53 + 1, BoxTaskSpace(0.0, 1.0)])


def test_a_tuple_samples_tuples_and_splits_into_its_components():  # known failures, line 18
    for space in (SPACES["enumerable tuple"], SPACES["tuple with a box"]):
        encoded = space.sample(6, np.random.default_rng(1))
        assert all(isinstance(task, tuple) for task in space.decode_many(encoded))
        parts = space.split_encoded(encoded)
        for component, part in zip(space.components, parts, strict=True):
            assert part.dtype == component.encoded_dtype
            assert component.contains_encoded(part).all()
        assert space.join_encoded(parts).tobytes() == encoded.tobytes()


def test_an_encoded_tuple_that_its_component_cannot_hold_is_outside():
    space = TupleTaskSpace([3, BoxTaskSpace(0.0, 1.0, dtype=np.float32)])
    rows = np.array([[1.0, 0.5], [1.5, 0.5], [1.0, 0.1], [1.0, np.nan], [3.0, 0.5], [np.inf, 0.5]])
    assert space.contains_encoded(rows).tolist() == [True, False, False, False, False, False]


# Box


def test_an_integer_box_samples_all_of_its_integers():
    space = BoxTaskSpace([-2, 5], [1, 5], dtype=np.int16)
    drawn = space.sample(400, np.random.default_rng(0))
    assert drawn.dtype == np.int16
    assert set(drawn[:, 0].tolist()) == {-2, -1, 0, 1}
    assert set(drawn[:, 1].tolist()) == {5}
    assert space.contains([0.0, 5])
    assert not space.contains([0.5, 5])
    whole = BoxTaskSpace(0, 2**64 - 1, dtype=np.uint64)
    assert whole.encode(2**64 - 1) == 2**64 - 1
    assert int(whole.sample(64, np.random.default_rng(0)).max()) > 2**63


def test_a_box_is_as_wide_as_floats_are():
    widest = float(np.finfo(np.float64).max)
    drawn = BoxTaskSpace(-widest, widest).sample(1000, np.random.default_rng(0))
    assert np.isfinite(drawn).all()
    assert drawn.min() < -0.9 * widest
    assert drawn.max() > 0.9 * widest


def test_a_uniform_sample_covers_a_box():
    space = BoxTaskSpace([-1.0, 10.0], [1.0, 12.0])
    drawn = (space.sample(4000, np.random.default_rng(2)) - space.low) / 2.0
    counts = np.histogram2d(drawn[:, 0], drawn[:, 1], bins=4, range=[[0, 1], [0, 1]])[0]
    assert np.abs(counts - 250).max() <= 6 * np.sqrt(250)


def test_a_task_is_rounded_to_the_dtype_of_its_box_before_it_meets_the_bounds():
    space = BoxTaskSpace(np.float32(0.1), np.float32(0.7), dtype=np.float32)
    assert space.encode(0.1) == np.float32(0.1)
    assert space.contains(0.7)
    assert not space.contains(1e300)
    assert not BoxTaskSpace(0, 5, dtype=np.int8).contains(2**70)


@pytest.mark.parametrize(
    ("low", "high", "options", "field"),
    [
        (1.0, 0.0, {}, "low"),
        (float("nan"), 1.0, {}, "low"),
        (0.0, float("inf"), {}, "high"),
        ([0.0, 0.0], [1.0, 1.0, 1.0], {}, "low, high"),
        ([], [], {}, "low"),
        (0.0, 1.0, {"dtype": np.complex64}, "dtype"),
        (0.0, 1.0, {"dtype": bool}, "dtype"),
        (0, 300, {"dtype": np.int8}, "high"),
        (0.5, 3, {"dtype": np.int8}, "low"),
        ([0.0, 0.0], 1.0, {"shape": (3,)}, "low, high"),
        ("a", "b", {}, "low"),
        (0.0, None, {}, "high"),
    ],
)
def test_what_makes_no_box_is_refused_by_name(low, high, options, field):
    with pytest.raises(ValueError, match=f"^{field}: "):
        BoxTaskSpace(low, high, **options)


def test_the_bounds_of_a_box_are_its_own():
    low = np.zeros(2)
    space = BoxTaskSpace(low, np.ones(2))
    low[0] = 9.0
    assert space.low.tolist() == [0.0, 0.0]
    with pytest.raises(ValueError, match="read-only"):
        space.low[0] = 1.0


# Strata


def test_strata_alone_are_a_space_of_their_tasks():  # known failures, line 18
    space = StratifiedDiscreteTaskSpace([[0, 1, 2], [3], [4, 5]])
    assert (space.num_tasks, space.num_strata) == (6, 3)
    assert space.stratum.tolist() == [0, 0, 0, 1, 2, 2]
    assert space.stratum.dtype == np.int64
    assert space.decode_many(np.arange(6)) == [0, 1, 2, 3, 4, 5]


def test_strata_as_groups_or_as_numbers_are_one_space():
    groups = StratifiedDiscreteTaskSpace(["a", "b", "c"], [["c"], ["a", "b"]])
    assert groups == StratifiedDiscreteTaskSpace(["a", "b", "c"], np.array([1, 1, 0]))
    assert groups != StratifiedDiscreteTaskSpace(["a", "b", "c"], [0, 0, 1])
    assert groups != DiscreteTaskSpace(["a", "b", "c"])


@pytest.mark.parametrize(
    ("tasks", "strata"),
    [
        (3, [0, 1]),
        (3, [0, 0, 2]),
        (3, [0, 0, -1]),
        (3, [0.0, 0.0, 0.0]),
        (3, [[0, 1]]),
        (3, [[0, 1], [1]]),
        (3, [[0, 1], [7]]),
        (3, [[0, 1, 2], []]),
        (3, [[0, 1], 2]),
        ([0, 1, 2], None),
    ],
)
def test_strata_that_do_not_hold_each_task_once_are_refused(tasks, strata):
    with pytest.raises(ValueError, match="strata"):
        StratifiedDiscreteTaskSpace(tasks, strata)


# From other things


def test_gymnasium_spaces_become_task_spaces_with_the_same_tasks():
    spaces = gymnasium.spaces
    assert task_space(spaces.Discrete(4, start=2)) == DiscreteTaskSpace(4, start=2)
    assert task_space(spaces.MultiDiscrete([2, 3])) == MultiDiscreteTaskSpace([2, 3], "tuple")
    assert task_space(spaces.MultiBinary(2)) == MultiDiscreteTaskSpace([2, 2], "tuple")
    box = spaces.Box(-1.0, 1.0, (2, 2), np.float32)
    assert task_space(box) == BoxTaskSpace(-1.0, 1.0, shape=(2, 2), dtype=np.float32)
    assert task_space(spaces.Tuple([spaces.Discrete(2), box])) == TupleTaskSpace([2, BoxTaskSpace(box)])
    for space in (spaces.Discrete(4, start=2), spaces.MultiDiscrete([2, 3], start=[1, 1]), box, spaces.MultiBinary(3)):
        space.seed(1)
        assert all(task_space(space).contains(space.sample()) for _ in range(20))
    for unknown in (spaces.Text(3), spaces.Dict({}), spaces.MultiDiscrete([[2], [3]])):
        with pytest.raises(TypeError, match="expected a Discrete"):
            task_space(unknown)
    with pytest.raises(ValueError, match="finite"):
        task_space(spaces.Box(-np.inf, np.inf, (2,)))


def test_plain_values_become_task_spaces():
    assert task_space(3) == DiscreteTaskSpace(3)
    assert task_space(["a", "b"]) == DiscreteTaskSpace(["a", "b"])
    assert task_space((3, ["a", "b"])) == TupleTaskSpace([DiscreteTaskSpace(3), DiscreteTaskSpace(["a", "b"])])
    space = DiscreteTaskSpace(3)
    assert task_space(space) is space
    for value in ("abc", True, None, 2.5, {}):
        with pytest.raises(TypeError):
            task_space(value)


# Messages


def discrete(**fields):
    return pb.TaskSpace(discrete=pb.DiscreteTaskSpace(**fields))


def box(low, high):
    return pb.TaskSpace(box=pb.BoxTaskSpace(low=codec.to_tensor(low), high=codec.to_tensor(high)))


def strata(num_tasks, stratum):
    tasks = pb.DiscreteTaskSpace(num_tasks=num_tasks)
    return pb.TaskSpace(
        stratified_discrete=pb.StratifiedDiscreteTaskSpace(tasks=tasks, stratum=codec.to_tensor(np.array(stratum)))
    )


def nested(depth):
    space = discrete(num_tasks=2)
    for _ in range(depth):
        space = pb.TaskSpace(tuple=pb.TupleTaskSpace(components=[space]))
    return space


def product(*sizes, **fields):
    components = [pb.DiscreteTaskSpace(num_tasks=size) for size in sizes]
    return pb.TaskSpace(multi_discrete=pb.MultiDiscreteTaskSpace(components=components, **fields))


@pytest.mark.parametrize(
    ("message", "field"),
    [
        (pb.TaskSpace(), "kind"),
        (discrete(), "discrete.num_tasks"),
        (discrete(num_tasks=2**63), "discrete.num_tasks"),
        (discrete(num_tasks=2**63 - 1, start=2), "discrete.num_tasks"),
        (discrete(num_tasks=3, json_tasks=["1"]), "discrete.json_tasks"),
        (discrete(num_tasks=1, json_tasks=["1"], start=4), "discrete.start"),
        (discrete(num_tasks=2, json_tasks=["1", "{"]), "discrete.json_tasks[1]"),
        (discrete(num_tasks=2, json_tasks=["1", "NaN"]), "discrete.json_tasks[1]"),
        (discrete(num_tasks=2, json_tasks=['"a"', "1e999"]), "discrete.json_tasks[1]"),
        (discrete(num_tasks=2, json_tasks=['"a"', "[" * 100_000]), "discrete.json_tasks[1]"),
        (discrete(num_tasks=2, json_tasks=['"a"', "9" * 10_000]), "discrete.json_tasks[1]"),
        (discrete(num_tasks=2, json_tasks=['["a"]', '[ "a"]']), "discrete.json_tasks[1]"),
        (pb.TaskSpace(discrete=pb.DiscreteTaskSpace(num_tasks=2), task_names=["a"]), "task_names"),
        (product(), "multi_discrete.components"),
        (product(2, 0), "multi_discrete.components[1].num_tasks"),
        (product(2**32, 2**31), "multi_discrete.components"),
        (product(2, encoding=9), "multi_discrete.encoding"),
        (pb.TaskSpace(box=pb.BoxTaskSpace()), "box.low.dtype"),
        (box(np.array([1.0]), np.array([0.0])), "box.low"),
        (box(np.array([np.nan]), np.array([0.0])), "box.low"),
        (box(np.array([0.0]), np.array([np.inf])), "box.high"),
        (box(np.array([0.0]), np.array([1.0, 1.0])), "box.high"),
        (box(np.array([0.0]), np.array([1])), "box.high"),
        (box(np.zeros(0), np.zeros(0)), "box.low"),
        (box(np.array([False]), np.array([True])), "box.low.dtype"),
        (pb.TaskSpace(tuple=pb.TupleTaskSpace()), "tuple.components"),
        (pb.TaskSpace(tuple=pb.TupleTaskSpace(components=[discrete()])), "tuple.components[0].discrete.num_tasks"),
        (nested(9), "tuple"),
        (strata(3, [0, 1]), "stratified_discrete.stratum"),
        (strata(3, [0, 0, 2]), "stratified_discrete.stratum"),
        (strata(3, [0.0, 0.0, 0.0]), "stratified_discrete.stratum"),
        (strata(0, [0]), "stratified_discrete.tasks.num_tasks"),
    ],
)
def test_a_malformed_message_is_refused_naming_the_field(message, field):
    with pytest.raises(InvalidFieldError) as refusal:
        TaskSpace.from_proto(message, "spec.task_space")
    assert refusal.value.field.startswith("spec.task_space.")
    assert refusal.value.field.endswith(field)
    assert refusal.value.expected


def test_tuples_nest_up_to_a_bound():
    assert TaskSpace.from_proto(nested(8)).num_tasks == 2


def test_an_encoding_that_is_not_given_is_flat():
    assert TaskSpace.from_proto(product(2, 3)) == MultiDiscreteTaskSpace([2, 3])


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(st.lists(json_values, min_size=1, max_size=12))
@settings(max_examples=150, deadline=None)
def test_any_distinct_json_values_are_a_space_that_travels(tasks):
    try:
        space = DiscreteTaskSpace(tasks)
    except ValueError:
        assert any(a == b for i, a in enumerate(tasks) for b in tasks[:i])
        return
    ids = np.arange(len(tasks))
    assert space.encode_many(tasks).tolist() == ids.tolist()
    again = TaskSpace.from_proto(space.to_proto())
    assert again == space
    assert again.encode_many(again.decode_many(ids)).tolist() == ids.tolist()
    assert again.decode_many(ids) == tasks
