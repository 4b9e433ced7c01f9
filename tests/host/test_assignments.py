"""The assignment table against a plain model of it."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from syllabus_service.assignments import AssignmentTable

ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("open"), st.integers(0, 3), st.integers(0, 40)),
        st.tuples(st.just("close"), st.integers(0, 2**31), st.integers(1, 20)),
    ),
    max_size=30,
)


@given(ACTIONS)
def test_the_table_knows_what_is_open_and_never_gives_an_id_twice(actions):
    table = AssignmentTable((), np.dtype(np.int64), capacity=2)
    model: dict[int, tuple[int, int]] = {}
    ever: set[int] = set()
    task = 0
    for action, first, count in actions:
        if action == "open":
            tasks = np.arange(task, task + count)
            task += count
            ids = table.open(tasks, first, position=7).tolist()
            assert not ever & set(ids)
            assert 0 not in ids
            ever |= set(ids)
            model.update({each: (first, int(which)) for each, which in zip(ids, tasks, strict=True)})
        elif model:
            chosen = list(model)[first % len(model) :][:count]
            table.close(table.find(np.array(chosen, np.uint64)))
            for each in chosen:
                del model[each]
    known = np.array(sorted(ever), np.uint64)
    slots = table.find(known)
    assert {each for each, slot in zip(known.tolist(), slots, strict=True) if slot >= 0} == set(model)
    assert len(table) == len(model)
    for session in range(4):
        expected = [which for owner, which in model.values() if owner == session]
        assert table.tasks(table.of_session(session)).tolist() == sorted(expected)
    assert table.all_ids().tolist() == list(model)


def test_an_id_that_was_never_given_is_not_found():
    table = AssignmentTable((), np.dtype(np.int64))
    table.open(np.arange(3), 0, 1)
    unknown = np.array([0, 1, 2**63, 2**64 - 1, (1 << 32) | 50, (2 << 32) | 0], np.uint64)
    assert (table.find(unknown) == -1).all()


def test_a_slot_whose_generations_are_spent_begins_anew_and_the_others_go_on():
    last = 2**30 - 1
    table = AssignmentTable((), np.dtype(np.int64), capacity=4)
    state = table.state_dict()
    state["generation"][:] = [last, last - 1, 5, last]
    state["num_opened"] = 2 * last
    table.load_state_dict(state)
    ids = table.open(np.arange(4), 0, 1).tolist()
    assert [(each & 0xFFFFFFFF, each >> 32) for each in ids] == [(0, 1), (1, last), (2, 6), (3, 1)]
    assert max(ids) < 2**62
    assert table.state_dict()["generation"].tolist() == [1, last, 6, 1]
    assert table.state_dict()["generation"].dtype == np.uint32


def test_tasks_of_any_shape_are_kept():
    table = AssignmentTable((2, 3), np.dtype(np.float32))
    tasks = np.arange(24, dtype=np.float32).reshape(4, 2, 3)
    slots = table.find(table.open(tasks, 0, 1))
    np.testing.assert_array_equal(table.tasks(slots), tasks)


def test_the_first_row_that_names_a_slot_is_known():
    table = AssignmentTable((), np.dtype(np.int64))
    assert table.first(np.array([4, 2, 4, 4, 2, 0])).tolist() == [True, True, False, False, False, True]
