"""What every store does."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from syllabus_service.store import (
    CorruptJournalError,
    CurriculumExistsError,
    CurriculumMissingError,
    MemoryStore,
    PositionConflictError,
    Store,
    StoredCurriculum,
    StoreUnavailableError,
)


def test_curricula_are_listed_by_name_as_they_were_created(store: Store) -> None:
    store.create_curriculum("zoo", 2**64 - 1, b"\x00spec")
    store.create_curriculum("maze", 1, b"")
    assert store.list_curricula() == [StoredCurriculum("maze", 1, b""), StoredCurriculum("zoo", 2**64 - 1, b"\x00spec")]


def test_a_name_that_is_taken_is_refused_and_the_first_curriculum_stays(maze: Store) -> None:
    maze.append("maze", 1, [b"a"])
    with pytest.raises(CurriculumExistsError):
        maze.create_curriculum("maze", 8, b"other")
    assert maze.list_curricula() == [StoredCurriculum("maze", 7, b"spec")]
    assert maze.last_position("maze") == 1


def test_records_come_back_in_order_from_the_position_asked_for(maze: Store) -> None:
    maze.append("maze", 1, [b"a", b""])
    maze.append("maze", 3, [b"c"])
    assert list(maze.read("maze", after=0)) == [(1, b"a"), (2, b""), (3, b"c")]
    assert list(maze.read("maze", after=2)) == [(3, b"c")]
    assert list(maze.read("maze", after=3)) == []
    assert maze.last_position("maze") == 3


@pytest.mark.parametrize("first_position", [0, 1, 2, 4, 5])
def test_records_that_do_not_follow_the_last_one_are_refused_and_not_written(maze: Store, first_position: int) -> None:
    maze.append("maze", 1, [b"a", b"b"])
    with pytest.raises(PositionConflictError, match="expected position 3"):
        maze.append("maze", first_position, [b"x", b"y"])
    assert list(maze.read("maze", after=0)) == [(1, b"a"), (2, b"b")]


def test_of_two_writers_racing_for_a_position_one_wins_and_the_other_is_told(maze: Store) -> None:
    outcomes: list[str] = []

    def write(record: bytes) -> None:
        try:
            maze.append("maze", 1, [record])
            outcomes.append("written")
        except PositionConflictError:
            outcomes.append("refused")

    writers = [threading.Thread(target=write, args=(bytes([n]),)) for n in range(8)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert sorted(outcomes) == ["refused"] * 7 + ["written"]
    assert len(list(maze.read("maze", after=0))) == 1


def test_curricula_do_not_see_each_other_s_records_and_snapshots(maze: Store) -> None:
    maze.create_curriculum("zoo", 9, b"")
    maze.append("maze", 1, [b"m"])
    maze.append("zoo", 1, [b"z1", b"z2"])
    maze.save_snapshot("zoo", 2, b"zoo")
    assert list(maze.read("maze", after=0)) == [(1, b"m")]
    assert list(maze.snapshots("maze")) == []
    maze.delete_curriculum("maze")
    assert list(maze.read("zoo", after=0)) == [(1, b"z1"), (2, b"z2")]
    assert list(maze.snapshots("zoo")) == [(2, b"zoo")]


def test_a_curriculum_created_again_under_a_deleted_name_begins_empty(maze: Store) -> None:
    maze.append("maze", 1, [b"old"] * 200)
    maze.save_snapshot("maze", 1, b"old")
    maze.delete_curriculum("maze")
    maze.create_curriculum("maze", 8, b"")
    assert maze.last_position("maze") == 0
    assert list(maze.read("maze", after=0)) == []
    assert list(maze.snapshots("maze")) == []


@pytest.mark.parametrize(
    "call",
    [
        lambda store: store.delete_curriculum("nowhere"),
        lambda store: store.append("nowhere", 1, [b""]),
        lambda store: store.last_position("nowhere"),
        lambda store: list(store.read("nowhere", 0)),
        lambda store: store.save_snapshot("nowhere", 0, b""),
        lambda store: list(store.snapshots("nowhere")),
        lambda store: store.trim("nowhere", 0, 1),
    ],
)
def test_a_curriculum_that_is_not_there_is_named(store: Store, call) -> None:
    with pytest.raises(CurriculumMissingError, match="nowhere"):
        call(store)


def test_snapshots_come_newest_first_and_one_of_the_same_position_replaces_the_other(maze: Store) -> None:
    maze.append("maze", 1, [b"a", b"b", b"c"])
    maze.save_snapshot("maze", 3, b"three")
    maze.save_snapshot("maze", 0, b"")
    maze.save_snapshot("maze", 3, b"other")
    assert list(maze.snapshots("maze")) == [(3, b"other"), (0, b"")]


def test_a_snapshot_larger_than_one_write_comes_back_whole(maze: Store) -> None:
    state = bytes(range(256)) * (9 * 4096 + 1)  # more than two chunks of 4 MiB
    maze.save_snapshot("maze", 0, state)
    assert list(maze.snapshots("maze")) == [(0, state)]


def test_a_snapshot_ahead_of_the_journal_is_refused(maze: Store) -> None:
    maze.append("maze", 1, [b"a"])
    with pytest.raises(PositionConflictError):
        maze.save_snapshot("maze", 2, b"")
    assert list(maze.snapshots("maze")) == []


def test_trimming_keeps_what_the_oldest_kept_snapshot_needs(maze: Store) -> None:
    maze.append("maze", 1, [b"%d" % n for n in range(1, 201)])
    for position in (50, 100, 150):
        maze.save_snapshot("maze", position, b"%d" % position)
    maze.trim("maze", up_to=200, keep_snapshots=2)
    assert [position for position, _ in maze.snapshots("maze")] == [150, 100]
    assert [position for position, _ in maze.read("maze", after=100)] == list(range(101, 201))
    with pytest.raises(CorruptJournalError, match="record 100 is missing"):
        list(maze.read("maze", after=99))


def test_trimming_removes_no_record_beyond_the_bound_given(maze: Store) -> None:
    maze.append("maze", 1, [b"a", b"b", b"c"])
    maze.save_snapshot("maze", 3, b"")
    maze.trim("maze", up_to=1, keep_snapshots=1)
    assert list(maze.read("maze", after=1)) == [(2, b"b"), (3, b"c")]


def test_trimming_without_a_snapshot_removes_nothing(maze: Store) -> None:
    maze.append("maze", 1, [b"a"])
    maze.trim("maze", up_to=1, keep_snapshots=1)
    assert list(maze.read("maze", after=0)) == [(1, b"a")]


def test_positions_go_on_where_they_were_when_every_record_was_trimmed(maze: Store) -> None:
    maze.append("maze", 1, [b"a", b"b"])
    maze.save_snapshot("maze", 2, b"")
    maze.trim("maze", up_to=2, keep_snapshots=1)
    assert maze.last_position("maze") == 2
    maze.append("maze", 3, [b"c"])
    assert list(maze.read("maze", after=2)) == [(3, b"c")]


def test_a_journal_being_read_may_grow_and_be_trimmed_meanwhile(maze: Store) -> None:
    maze.append("maze", 1, [b"%d" % n for n in range(1, 301)])
    reading = maze.read("maze", after=0)
    first = next(reading)
    maze.append("maze", 301, [b"later"])
    maze.save_snapshot("maze", 301, b"")
    maze.trim("maze", up_to=301, keep_snapshots=1)
    assert [first, *reading] == [(n, b"%d" % n) for n in range(1, 301)]


def test_a_closed_store_says_so_and_closes_again_without_harm(maze: Store) -> None:
    maze.close()
    maze.close()
    with pytest.raises(StoreUnavailableError, match="closed"):
        maze.append("maze", 1, [b""])


_OPERATION = st.one_of(
    st.tuples(st.just("append"), st.integers(0, 12), st.lists(st.binary(max_size=20), min_size=1, max_size=3)),
    st.tuples(st.just("snapshot"), st.integers(0, 12), st.binary(max_size=20)),
    st.tuples(st.just("trim"), st.integers(0, 12), st.integers(1, 3)),
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(operations=st.lists(_OPERATION, max_size=15))
def test_every_store_behaves_as_the_one_in_memory(store: Store, operations: list) -> None:
    reference = MemoryStore()
    names = {known.name for known in store.list_curricula()}
    if "maze" in names:
        store.delete_curriculum("maze")
    for each in (store, reference):
        each.create_curriculum("maze", 1, b"")

    def outcome(each: Store, operation: tuple) -> object:
        kind, number, argument = operation
        try:
            if kind == "append":
                each.append("maze", number, argument)
            elif kind == "snapshot":
                each.save_snapshot("maze", number, argument)
            else:
                each.trim("maze", number, argument)
        except PositionConflictError as error:
            return str(error)
        return None

    for operation in operations:
        assert outcome(store, operation) == outcome(reference, operation)
        assert store.last_position("maze") == reference.last_position("maze")
        assert list(store.snapshots("maze")) == list(reference.snapshots("maze"))
        after = max((position for position, _ in reference.snapshots("maze")), default=0)
        assert list(store.read("maze", after)) == list(reference.read("maze", after))


def test_a_history_is_imported_as_if_it_had_been_written_here(store: Store) -> None:
    stored = StoredCurriculum("maze", 2**64 - 1, b"spec")
    store.import_curriculum(stored, (5, b"state" * 1_000_000), (b"%d" % number for number in range(600)))
    assert store.list_curricula() == [stored]
    assert list(store.snapshots("maze")) == [(5, b"state" * 1_000_000)]
    assert [position for position, _ in store.read("maze", after=5)] == list(range(6, 606))
    assert list(store.read("maze", after=604)) == [(605, b"599")]
    with pytest.raises(CorruptJournalError):
        list(store.read("maze", after=4))
    store.take_over("maze")
    store.append("maze", 606, [b"more"])
    assert store.last_position("maze") == 606


def test_a_history_without_a_snapshot_begins_at_the_beginning(store: Store) -> None:
    store.import_curriculum(StoredCurriculum("maze", 1, b""), None, [b"a"])
    store.import_curriculum(StoredCurriculum("zoo", 1, b""), (7, b"state"), [])
    assert list(store.read("maze", after=0)) == [(1, b"a")]
    assert store.last_position("zoo") == 7


def test_a_history_that_breaks_off_leaves_nothing_behind(store: Store) -> None:
    def broken() -> Iterator[bytes]:
        yield from [b"a"] * 300
        raise ValueError("the rest is gone")

    stored = StoredCurriculum("maze", 1, b"spec")
    with pytest.raises(ValueError, match="the rest is gone"):
        store.import_curriculum(stored, (1, b"state"), broken())
    assert store.list_curricula() == []
    store.import_curriculum(stored, None, [b"b"])
    assert list(store.read("maze", after=0)) == [(1, b"b")]


def test_a_history_whose_name_is_taken_is_refused(maze: Store) -> None:
    with pytest.raises(CurriculumExistsError):
        maze.import_curriculum(StoredCurriculum("maze", 8, b"other"), (1, b"state"), [b"a"])
    assert maze.list_curricula() == [StoredCurriculum("maze", 7, b"spec")]
    assert list(maze.snapshots("maze")) == []
