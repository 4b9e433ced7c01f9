"""What the PostgreSQL store adds: it is fenced, comes back with its database, and notices damage and loss."""

from __future__ import annotations

import itertools
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from structlog.testing import capture_logs

from syllabus_service.store import (
    CorruptJournalError,
    Durability,
    PositionConflictError,
    StoredCurriculum,
    StoreError,
    StoreFencedError,
    StoreUnavailableError,
    StoreVersionError,
)
from syllabus_service.store.checksum import checksum
from syllabus_service.store.postgresql import PostgresqlStore
from syllabus_service.store.postgresql_schema import _MIGRATIONS, SCHEMA_VERSION
from tests.chaos.proxy import Proxy
from tests.postgresql import PostgresServer

_DEADLINE_SECONDS = 60.0
_numbers = itertools.count(1)


@pytest.fixture
def schema() -> str:
    """A schema of the test's own, not made yet."""
    return f'store "{next(_numbers)}"'  # a name that must be quoted wherever it stands


@pytest.fixture
def open_one(database: PostgresServer, schema: str) -> Iterator[Callable[..., PostgresqlStore]]:
    """Opens stores on the test's schema, and closes them."""
    opened: list[PostgresqlStore] = []

    def open_(durability: Durability = Durability.FSYNC, **arguments: Any) -> PostgresqlStore:
        url = arguments.pop("url", database.url())
        opened.append(PostgresqlStore(url, durability, schema=schema, **arguments))
        return opened[-1]

    yield open_
    for each in opened:
        each.close()


@pytest.fixture
def store(open_one: Callable[..., PostgresqlStore]) -> PostgresqlStore:
    """A store with three records and two snapshots of maze."""
    store = open_one()
    store.create_curriculum("maze", 7, b"spec")
    store.append("maze", 1, [b"a", b"b", b"c"])
    store.save_snapshot("maze", 1, b"one")
    store.save_snapshot("maze", 2, b"two")
    return store


@pytest.fixture
def execute(database: PostgresServer, schema: str) -> Iterator[Callable[[str], list[Any]]]:
    """Executes a statement in the test's schema, beside the store."""
    with database.connect() as connection:
        connection.execute(sql.SQL("SET search_path TO {}").format(sql.Identifier(schema)))

        def execute_(statement: str) -> list[Any]:
            cursor = connection.execute(statement)  # type: ignore[call-overload]
            return cursor.fetchall() if cursor.description else []

        yield execute_


@pytest.fixture
def proxy(database: PostgresServer, tmp_path: Path) -> Iterator[Proxy]:
    """A proxy before the database; its URL is ``database.url(host=tmp_path)``."""
    with Proxy(lambda: database.socket_path, listen=tmp_path / database.socket_path.name) as running:
        yield running


def _append_until_it_works(store: PostgresqlStore, first_position: int, records: list[bytes]) -> int:
    """What a runner does while the store is away; how often it was."""
    deadline = time.monotonic() + _DEADLINE_SECONDS
    for failures in itertools.count():
        try:
            store.append("maze", first_position, records)
            return failures
        except StoreUnavailableError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
    raise AssertionError


def _wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _DEADLINE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(0.01)


# It survives


@pytest.mark.parametrize("durability", Durability)
def test_everything_is_there_when_the_store_is_opened_again(open_one: Any, durability: Durability) -> None:
    with open_one(durability) as store:
        store.create_curriculum("maze", 2**64 - 1, b"spec")
        store.append("maze", 1, [b"a", b"b"])
        store.save_snapshot("maze", 1, b"one")
    with open_one(durability) as store:
        assert store.list_curricula() == [StoredCurriculum("maze", 2**64 - 1, b"spec")]
        assert list(store.read("maze", after=1)) == [(2, b"b")]
        assert list(store.snapshots("maze")) == [(1, b"one")]


@pytest.mark.parametrize(
    ("durability", "default", "expected"),
    [
        (Durability.FSYNC, "off", "on"),
        (Durability.FSYNC, "remote_apply", "remote_apply"),
        (Durability.OS, "on", "off"),
        (Durability.NONE, "on", "off"),
    ],
)
def test_a_commit_waits_for_what_its_durability_says(
    database: PostgresServer, open_one: Any, durability: Durability, default: str, expected: str
) -> None:
    store = open_one(durability, url=f"{database.url()}&options=-csynchronous_commit%3D{default}")
    with store._connections.use() as connection:
        assert connection.execute("SHOW synchronous_commit").fetchone() == (expected,)


def test_a_stopped_database_refuses_appends_and_the_store_goes_on_when_it_is_back(
    database: PostgresServer, store: PostgresqlStore
) -> None:
    database.stop()
    try:
        for _ in range(2):
            with pytest.raises(StoreUnavailableError):
                store.append("maze", 4, [b"d"])
        with pytest.raises(StoreUnavailableError):
            store.last_position("maze")
        with pytest.raises(StoreUnavailableError):
            list(store.snapshots("maze"))
    finally:
        database.start()
    assert store.last_position("maze") == 3
    store.append("maze", 4, [b"d"])
    assert list(store.read("maze", after=2)) == [(3, b"c"), (4, b"d")]


def test_a_database_that_was_restarted_between_two_appends_costs_none_of_them(
    database: PostgresServer, store: PostgresqlStore
) -> None:
    database.stop()
    database.start()
    store.append("maze", 4, [b"d"])
    assert store.last_position("maze") == 4


# Appends for ever, and says after each up to where it was told "durable".
_WRITER = """
import sys, time
from syllabus_service.store import StoreUnavailableError
from syllabus_service.store.postgresql import PostgresqlStore

store = PostgresqlStore(sys.argv[1], schema=sys.argv[2])
store.take_over("maze")
position = store.last_position("maze")
while True:
    records = [b"%d" % n for n in range(position + 1, position + position % 5 + 2)]
    try:
        store.append("maze", position + 1, records)
    except StoreUnavailableError:
        time.sleep(0.01)
        continue
    position += len(records)
    print(position, flush=True)
"""


def test_a_database_killed_under_a_writer_has_everything_that_was_acknowledged_exactly_once(
    database: PostgresServer, schema: str, open_one: Any
) -> None:
    reader = open_one()
    reader.create_curriculum("maze", 1, b"")
    arguments = [sys.executable, "-c", _WRITER, database.url(), schema]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        try:
            for _ in range(3):
                for _ in range(20):
                    acknowledged = int(writer.stdout.readline())
                database.kill()
                database.start()
            for _ in range(5):  # it goes on
                acknowledged = int(writer.stdout.readline())
        finally:
            writer.kill()
        lines = writer.stdout.read().splitlines(keepends=True)
    complete = [int(line) for line in lines if line.endswith("\n")]
    journal = list(open_one().read("maze", after=0))
    assert journal == [(n, b"%d" % n) for n in range(1, len(journal) + 1)]
    assert len(journal) >= max([acknowledged, *complete])


# It is fenced


@pytest.mark.parametrize(
    "call",
    [
        lambda store: store.append("maze", 4, [b"d"]),
        lambda store: store.last_position("maze"),
        lambda store: store.save_snapshot("maze", 3, b"three"),
        lambda store: store.trim("maze", 3, 1),
        lambda store: store.delete_curriculum("maze"),
        lambda store: store.take_over("maze"),
    ],
)
def test_a_store_opened_later_takes_over_and_the_earlier_one_is_told_at_its_next_call(
    store: PostgresqlStore, open_one: Any, call: Callable[[PostgresqlStore], None]
) -> None:
    later = open_one()
    later.take_over("maze")
    with pytest.raises(StoreFencedError, match=f"its epoch is {later.epoch}, ours {store.epoch}"):
        call(store)
    assert list(later.read("maze", after=0)) == [(1, b"a"), (2, b"b"), (3, b"c")]
    assert list(later.snapshots("maze")) == [(2, b"two"), (1, b"one")]
    later.append("maze", 4, [b"d"])


def test_opening_and_reading_takes_nothing_over(store: PostgresqlStore, open_one: Any) -> None:
    reader = open_one()
    assert list(reader.read("maze", after=2)) == [(3, b"c")]
    assert reader.last_position("maze") == 3
    store.append("maze", 4, [b"d"])


def test_a_store_that_has_not_taken_a_curriculum_over_does_not_write_it(store: PostgresqlStore, open_one: Any) -> None:
    later = open_one()
    for call in (
        lambda: later.append("maze", 4, [b"later"]),
        lambda: later.save_snapshot("maze", 3, b"three"),
        lambda: later.trim("maze", 3, 1),
    ):
        with pytest.raises(StoreFencedError):
            call()
    store.append("maze", 4, [b"d"])
    assert list(later.snapshots("maze")) == [(2, b"two"), (1, b"one")]


@pytest.mark.parametrize("lost", [1, 2])
def test_of_two_stores_whose_epochs_a_failover_has_made_equal_or_turned_round_one_writes(
    store: PostgresqlStore, open_one: Any, execute: Callable[[str], list[Any]], lost: int
) -> None:
    """A standby is promoted that had not received the last epochs: they are handed out once more."""
    earlier = open_one()
    earlier.take_over("maze")
    execute(f"UPDATE store SET epoch = epoch - {lost}")
    execute(f"UPDATE curriculum SET writer = {store.epoch}")
    later = open_one()
    assert later.epoch == earlier.epoch + 1 - lost
    later.take_over("maze")
    later.append("maze", 4, [b"later"])
    for call in (
        lambda: earlier.append("maze", 5, [b"earlier"]),
        lambda: earlier.append("maze", 4, [b"later"]),
        lambda: earlier.last_position("maze"),
        lambda: earlier.save_snapshot("maze", 3, b"three"),
        lambda: earlier.trim("maze", 3, 1),
        lambda: earlier.delete_curriculum("maze"),
    ):
        with pytest.raises(StoreFencedError):
            call()
    later.append("maze", 5, [b"later"])
    assert list(later.read("maze", after=3)) == [(4, b"later"), (5, b"later")]


def test_the_fence_holds_for_one_curriculum_and_not_for_others(store: PostgresqlStore, open_one: Any) -> None:
    store.create_curriculum("zoo", 8, b"")
    open_one().take_over("maze")
    store.append("zoo", 1, [b"z"])


def test_an_earlier_store_stays_fenced_when_its_database_comes_back(
    database: PostgresServer, store: PostgresqlStore, open_one: Any
) -> None:
    open_one().take_over("maze")
    database.stop()
    database.start()
    with pytest.raises(StoreFencedError):
        store.append("maze", 4, [b"d"])


def test_two_services_on_one_database_leave_one_line_of_records(store: PostgresqlStore, open_one: Any) -> None:
    """Each writes as fast as it can from what it believes; who is taken over stops, and nothing that it had is lost."""
    acknowledged: queue.SimpleQueue[tuple[int, bytes]] = queue.SimpleQueue()

    def write(each: PostgresqlStore, stop_at: int) -> bool:
        position = each.last_position("maze")
        try:
            while position < stop_at:
                record = b"%d by %d" % (position + 1, each.epoch)
                each.append("maze", position + 1, [record])
                position += 1
                acknowledged.put((position, record))
        except StoreFencedError:
            return False
        return True

    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(write, store, 10_000)
        _wait_until(lambda: acknowledged.qsize() >= 20)
        second_store = open_one()
        second_store.take_over("maze")
        second = pool.submit(write, second_store, 10_000)
        assert first.result(_DEADLINE_SECONDS) is False
        seen = acknowledged.qsize()
        _wait_until(lambda: acknowledged.qsize() >= seen + 20)
        third_store = open_one()
        third_store.take_over("maze")
        assert second.result(_DEADLINE_SECONDS) is False
        end = third_store.last_position("maze") + 20
        assert write(third_store, end) is True
    journal = list(third_store.read("maze", after=3))
    assert journal == [acknowledged.get() for _ in range(acknowledged.qsize())]
    writers = [int(record.split()[-1]) for _, record in journal]
    assert writers == sorted(writers)
    assert set(writers) == {store.epoch, second_store.epoch, third_store.epoch}


def test_a_service_that_was_paused_finds_itself_taken_over(
    database: PostgresServer, schema: str, open_one: Any
) -> None:
    later = open_one()
    later.create_curriculum("maze", 1, b"")
    arguments = [sys.executable, "-c", _WRITER, database.url(), schema]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        assert writer.stderr is not None
        try:
            for _ in range(10):
                acknowledged = int(writer.stdout.readline())
            writer.send_signal(signal.SIGSTOP)
            newest = open_one()
            newest.take_over("maze")
            end = newest.last_position("maze")
            assert end >= acknowledged
            newest.append("maze", end + 1, [b"mine"])
            writer.send_signal(signal.SIGCONT)
            assert "StoreFencedError" in writer.stderr.read()
        finally:
            writer.kill()
    assert newest.last_position("maze") == end + 1


# What becomes of an append is not known


def _blocked(execute: Callable[[str], list[Any]], statement: str) -> Callable[[], bool]:
    """Whether a statement waits for a lock."""
    return lambda: bool(
        execute(
            "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND state = 'active'"
            f" AND query LIKE '%{statement}%' AND pid <> pg_backend_pid()"
        )
    )


def test_a_reply_that_is_lost_leaves_an_append_that_is_recognised(
    database: PostgresServer, store: PostgresqlStore, open_one: Any, proxy: Proxy, tmp_path: Path
) -> None:
    proxied = open_one(url=database.url(host=tmp_path), call_seconds=1.0)
    proxied.take_over("maze")
    proxy.swallow("down")
    with pytest.raises(StoreUnavailableError):
        proxied.append("maze", 4, [b"d", b"e"])
    proxy.heal()
    assert proxied.last_position("maze") == 5
    proxied.append("maze", 4, [b"d", b"e"])
    with pytest.raises(PositionConflictError, match="expected position 6"):
        proxied.append("maze", 4, [b"d", b"e"])  # it is not unknown any more
    assert list(proxied.read("maze", after=3)) == [(4, b"d"), (5, b"e")]


def test_an_append_that_takes_place_after_its_connection_was_cut_is_in_the_journal_once(
    database: PostgresServer,
    store: PostgresqlStore,
    open_one: Any,
    proxy: Proxy,
    tmp_path: Path,
    schema: str,
    execute: Callable[[str], list[Any]],
) -> None:
    proxied = open_one(url=database.url(host=tmp_path))
    proxied.take_over("maze")
    with ThreadPoolExecutor(1) as pool:
        with database.connect() as holder:
            holder.execute(sql.SQL("SET search_path TO {}").format(sql.Identifier(schema)))
            with holder.transaction():
                holder.execute("SELECT 1 FROM curriculum FOR UPDATE")
                first = pool.submit(proxied.append, "maze", 4, [b"d"])
                _wait_until(_blocked(execute, "INTO journal"))
                proxy.cut()
                with pytest.raises(StoreUnavailableError):
                    first.result(_DEADLINE_SECONDS)
                assert proxied.last_position("maze") == 3  # and yet it is under way
                second = pool.submit(proxied.append, "maze", 4, [b"d"])
                _wait_until(
                    lambda: len(execute("SELECT 1 FROM pg_locks WHERE NOT granted")) == 2
                )  # both wait for the row
        second.result(_DEADLINE_SECONDS)
    assert list(proxied.read("maze", after=3)) == [(4, b"d")]


def test_other_records_in_the_place_of_an_append_with_an_unknown_end_are_refused(
    database: PostgresServer, store: PostgresqlStore, open_one: Any, proxy: Proxy, tmp_path: Path
) -> None:
    proxied = open_one(url=database.url(host=tmp_path), call_seconds=1.0)
    proxied.take_over("maze")
    proxy.swallow("down")
    with pytest.raises(StoreUnavailableError):
        proxied.append("maze", 4, [b"d"])
    proxy.heal()
    with pytest.raises(PositionConflictError):
        proxied.append("maze", 4, [b"x"])


def test_what_is_under_way_when_a_store_takes_over_is_seen_by_it_or_never_takes_place(
    database: PostgresServer,
    store: PostgresqlStore,
    open_one: Any,
    schema: str,
    execute: Callable[[str], list[Any]],
) -> None:
    later = open_one()
    with ThreadPoolExecutor(2) as pool:
        with database.connect() as holder:
            holder.execute(sql.SQL("SET search_path TO {}").format(sql.Identifier(schema)))
            with holder.transaction():
                holder.execute("SELECT 1 FROM curriculum FOR UPDATE")
                append = pool.submit(store.append, "maze", 4, [b"d"])
                _wait_until(_blocked(execute, "INTO journal"))
                taking = pool.submit(later.take_over, "maze")
                _wait_until(_blocked(execute, "SET writer"))
        taking.result(_DEADLINE_SECONDS)
        seen = later.last_position("maze")
        try:
            append.result(_DEADLINE_SECONDS)
            acknowledged = 4
        except StoreFencedError:
            acknowledged = 3
    assert later.last_position("maze") == seen == acknowledged


def test_a_database_that_does_not_answer_counts_as_away(
    database: PostgresServer, store: PostgresqlStore, open_one: Any, proxy: Proxy, tmp_path: Path
) -> None:
    proxied = open_one(url=database.url(host=tmp_path), call_seconds=0.5)
    proxied.take_over("maze")
    proxy.swallow()
    with pytest.raises(StoreUnavailableError):
        proxied.append("maze", 4, [b"d"])
    proxy.heal()
    assert _append_until_it_works(proxied, 4, [b"d"]) >= 0
    assert list(proxied.read("maze", after=3)) == [(4, b"d")]


def test_a_row_that_a_tool_holds_locked_makes_appends_fail_and_then_go_on(
    database: PostgresServer, store: PostgresqlStore, open_one: Any, schema: str
) -> None:
    hasty = open_one(call_seconds=0.5)
    hasty.take_over("maze")
    with database.connect() as holder:
        holder.execute(sql.SQL("SET search_path TO {}").format(sql.Identifier(schema)))
        with holder.transaction():
            holder.execute("SELECT 1 FROM curriculum FOR UPDATE")
            with pytest.raises(StoreUnavailableError):
                hasty.append("maze", 4, [b"d"])
    hasty.append("maze", 4, [b"d"])
    assert list(hasty.read("maze", after=3)) == [(4, b"d")]


def test_a_database_that_turned_read_only_refuses_appends_until_it_is_writable(
    database: PostgresServer, store: PostgresqlStore, schema: str
) -> None:
    def say(value: str) -> None:
        with database.connect() as connection:
            connection.execute("SET default_transaction_read_only TO off")
            connection.execute(sql.SQL("ALTER ROLE syllabus SET default_transaction_read_only TO {}").format(value))
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'syllabus-service'"
            )

    say("on")
    try:
        with pytest.raises(StoreUnavailableError, match="read-only"):
            store.append("maze", 4, [b"d"])
    finally:
        say("off")
    assert _append_until_it_works(store, 4, [b"d"]) >= 0
    assert store.last_position("maze") == 4


# Schema


def test_an_empty_database_migrated_by_several_at_once_is_migrated_once(open_one: Any, execute: Any) -> None:
    with ThreadPoolExecutor(4) as pool:
        stores = list(pool.map(lambda _: open_one(), range(4)))
    assert sorted(store.epoch for store in stores) == [1, 2, 3, 4]
    assert execute("SELECT version, epoch FROM store") == [(SCHEMA_VERSION, 4)]
    stores[0].create_curriculum("maze", 1, b"")
    assert [each.name for each in stores[3].list_curricula()] == ["maze"]


def test_a_database_of_the_version_before_is_migrated_and_who_still_writes_it_is_fenced(
    database: PostgresServer, schema: str, open_one: Any
) -> None:
    append = (  # as the program of version 1 does
        "UPDATE curriculum SET last_position = last_position + 1, writer = 5 WHERE name = 'maze' AND writer <= 5"
    )
    with database.connect() as old:
        old.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema)))
        old.execute(sql.SQL("SET search_path TO {}").format(sql.Identifier(schema)))
        old.execute(_MIGRATIONS[0])
        old.execute("INSERT INTO store (version, identity, epoch) VALUES (1, 'this', 5)")
        old.execute(
            "INSERT INTO curriculum (name, incarnation, spec, last_position, writer) VALUES ('maze', 7, '', 1, 5)"
        )
        old.execute("INSERT INTO journal SELECT id, 1, %s, %b FROM curriculum", (checksum(1, b"a"), b"a"))
        store = open_one()
        assert old.execute("SELECT version, epoch FROM store").fetchall() == [(SCHEMA_VERSION, 6)]
        assert list(store.read("maze", after=0)) == [(1, b"a")]
        assert old.execute(append).rowcount == 1  # the migration alone stops nobody
        old.execute("INSERT INTO journal SELECT id, 2, %s, %b FROM curriculum", (checksum(2, b"b"), b"b"))
        with pytest.raises(StoreFencedError):
            store.append("maze", 3, [b"c"])
        store.take_over("maze")
        assert old.execute(append).rowcount == 0
        store.append("maze", 3, [b"c"])
        assert list(store.read("maze", after=1)) == [(2, b"b"), (3, b"c")]
        # What it creates besides can be taken over as well.
        old.execute(
            "INSERT INTO curriculum (name, incarnation, spec, last_position, writer) VALUES ('zoo', 8, '', 0, 5)"
        )
        store.take_over("zoo")
        store.append("zoo", 1, [b"z"])


def test_a_database_of_a_later_version_is_refused_and_left_alone(
    store: PostgresqlStore, open_one: Any, execute: Any
) -> None:
    execute("UPDATE store SET version = 99")
    with pytest.raises(StoreVersionError, match="version 99"):
        open_one()
    assert execute("SELECT version, epoch FROM store") == [(99, store.epoch)]


def test_a_schema_that_an_administrator_made_needs_no_right_to_make_one(
    database: PostgresServer, schema: str, open_one: Any
) -> None:
    with database.connect() as connection:
        name = sql.Identifier(schema)
        role = sql.Identifier(f"limited {schema}")
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(role))
        connection.execute(sql.SQL("CREATE SCHEMA {} AUTHORIZATION {}").format(name, role))
    url = psycopg.conninfo.make_conninfo(database.url(), user=f"limited {schema}")
    with open_one(url=url) as store:
        store.create_curriculum("maze", 1, b"")
    with open_one(url=url) as store:
        assert len(store.list_curricula()) == 1


def test_a_database_replaced_by_another_one_is_not_written_to(
    database: PostgresServer, store: PostgresqlStore, open_one: Any, execute: Any
) -> None:
    execute("UPDATE store SET identity = 'another'")
    database.stop()
    database.start()
    with pytest.raises(StoreUnavailableError, match="replaced"):
        store.append("maze", 4, [b"d"])


def test_tables_that_are_gone_are_unavailable_and_not_made_again(
    database: PostgresServer, schema: str, store: PostgresqlStore
) -> None:
    with database.connect() as connection:
        connection.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(schema)))
    for _ in range(2):
        with pytest.raises(StoreUnavailableError):
            store.append("maze", 4, [b"d"])


# Damage


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("UPDATE journal SET record = 'B' WHERE position = 2", "record 2 is damaged"),
        ("UPDATE journal SET position = 4 WHERE position = 3", "record 3 is missing"),
        ("DELETE FROM journal WHERE position = 2", "record 2 is missing"),
        ("DELETE FROM journal WHERE position = 3", "record 3 is missing"),
        ("DELETE FROM journal", "record 1 is missing"),
    ],
)
def test_a_damaged_or_missing_record_is_named_and_never_skipped(
    store: PostgresqlStore, execute: Any, damage: str, message: str
) -> None:
    execute(damage)
    with pytest.raises(CorruptJournalError, match=message):
        list(store.read("maze", after=0))


@pytest.mark.parametrize(
    "damage",
    ["UPDATE snapshot_chunk SET data = 'tw0' WHERE data = 'two'", "DELETE FROM snapshot_chunk WHERE data = 'two'"],
)
def test_a_damaged_newest_snapshot_is_left_out_and_logged(store: PostgresqlStore, execute: Any, damage: str) -> None:
    execute(damage)
    with capture_logs() as logs:
        assert list(store.snapshots("maze")) == [(1, b"one")]
    assert [(line["event"], line["position"]) for line in logs] == [("snapshot_damaged", 2)]


def test_a_snapshot_cut_off_in_the_middle_is_absent(
    database: PostgresServer, store: PostgresqlStore, open_one: Any, proxy: Proxy, tmp_path: Path, execute: Any
) -> None:
    proxied = open_one(url=database.url(host=tmp_path))
    proxied.take_over("maze")
    state = bytes(16 << 20)
    proxy.delay(0.002)
    with ThreadPoolExecutor(1) as pool:
        saving = pool.submit(proxied.save_snapshot, "maze", 3, state)
        _wait_until(_has_begun(execute))
        proxy.cut()
        with pytest.raises(StoreUnavailableError):
            saving.result(_DEADLINE_SECONDS)
    assert [position for position, _ in store.snapshots("maze")] == [2, 1]
    proxy.heal()
    proxied.save_snapshot("maze", 3, state)
    assert next(store.snapshots("maze")) == (3, state)


def _has_begun(execute: Any) -> Callable[[], bool]:
    """Whether a transaction that has written a chunk is open."""
    return lambda: bool(
        execute(
            "SELECT 1 FROM pg_stat_activity WHERE query LIKE '%INTO snapshot_chunk%' AND backend_xid IS NOT NULL"
            " AND pid <> pg_backend_pid()"
        )
    )


def test_what_a_half_done_deletion_left_is_swept_away(store: PostgresqlStore, open_one: Any, execute: Any) -> None:
    execute("INSERT INTO deleted SELECT id FROM curriculum")
    execute("DELETE FROM curriculum")
    assert execute("SELECT count(*) FROM journal") == [(3,)]
    open_one()
    for table in ("journal", "snapshot", "snapshot_chunk", "deleted"):
        assert execute(f"SELECT count(*) FROM {table}") == [(0,)]


# Many at once


def test_many_curricula_are_written_at_the_same_time(store: PostgresqlStore) -> None:
    names = [f"run-{n}" for n in range(8)]

    def write(name: str) -> None:
        store.create_curriculum(name, 1, b"")
        for position in range(1, 31):
            store.append(name, position, [name.encode()])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, names))
    for name in names:
        assert list(store.read(name, after=0)) == [(n, name.encode()) for n in range(1, 31)]


def test_a_large_micro_batch_is_one_append(store: PostgresqlStore) -> None:
    records = [bytes([n]) * 500_000 for n in range(64)]  # 32 MB
    store.append("maze", 4, records)
    assert [record for _, record in store.read("maze", after=3)] == records


def test_closing_ends_what_is_under_way(
    database: PostgresServer, store: PostgresqlStore, open_one: Any, schema: str, execute: Any
) -> None:
    threads = threading.active_count()
    other = open_one()
    other.take_over("maze")
    with ThreadPoolExecutor(1) as pool, database.connect() as holder:
        holder.execute(sql.SQL("SET search_path TO {}").format(sql.Identifier(schema)))
        with holder.transaction():
            holder.execute("SELECT 1 FROM curriculum FOR UPDATE")
            append = pool.submit(other.append, "maze", 4, [b"d"])
            _wait_until(_blocked(execute, "INTO journal"))
            other.close()
            with pytest.raises(StoreUnavailableError):
                append.result(_DEADLINE_SECONDS)
    assert threading.active_count() == threads


def test_a_url_that_is_none_does_not_show_its_password() -> None:
    with pytest.raises(StoreError) as caught:
        PostgresqlStore("postgresql://me:secret@host/x?nonsense=1")
    assert "secret" not in str(caught.value)


def test_nobody_at_the_address_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailableError, match="cannot connect"):
        PostgresqlStore(f"postgresql://syllabus@/postgres?host={tmp_path}")
