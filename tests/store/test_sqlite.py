"""What the SQLite store adds: it survives, refuses a second process, and notices damage and loss."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from syllabus_service.store import (
    CorruptJournalError,
    Durability,
    SqliteStore,
    StoreInUseError,
    StoreUnavailableError,
    StoreVersionError,
)
from syllabus_service.store.sqlite import DATABASE_NAME


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """A directory that holds a closed store with three records and two snapshots of maze."""
    with SqliteStore(tmp_path) as store:
        store.create_curriculum("maze", 7, b"spec")
        store.append("maze", 1, [b"a", b"b", b"c"])
        store.save_snapshot("maze", 1, b"one")
        store.save_snapshot("maze", 2, b"two")
    return tmp_path


def _execute(data_dir: Path, statement: str) -> None:
    with closing(sqlite3.connect(data_dir / DATABASE_NAME)) as connection, connection:
        connection.execute(statement)


@pytest.mark.parametrize("durability", Durability)
def test_everything_is_there_when_the_store_is_opened_again(tmp_path: Path, durability: Durability) -> None:
    with SqliteStore(tmp_path, durability) as store:
        store.create_curriculum("maze", 2**63, b"spec")
        store.append("maze", 1, [b"a", b"b"])
        store.save_snapshot("maze", 1, b"one")
    with SqliteStore(tmp_path, durability) as store:
        assert store.list_curricula()[0].incarnation == 2**63
        assert list(store.read("maze", after=1)) == [(2, b"b")]
        assert list(store.snapshots("maze")) == [(1, b"one")]


def test_a_directory_in_use_is_refused_naming_the_process_that_holds_it(data_dir: Path) -> None:
    with SqliteStore(data_dir), pytest.raises(StoreInUseError, match=f"in use by process {os.getpid()}"):
        SqliteStore(data_dir)
    SqliteStore(data_dir).close()


def test_the_lock_ends_with_the_process_that_held_it(data_dir: Path) -> None:
    hold = "import sys, time; from syllabus_service.store import SqliteStore\n"
    hold += "store = SqliteStore(sys.argv[1]); print('held', flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", hold, str(data_dir)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(StoreInUseError, match=f"process {holder.pid}"):
            SqliteStore(data_dir)
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    SqliteStore(data_dir).close()


def test_a_damaged_newest_snapshot_is_left_out_and_logged(data_dir: Path) -> None:
    _execute(data_dir, "UPDATE snapshot_chunk SET data = CAST('tw0' AS BLOB) WHERE CAST(data AS TEXT) = 'two'")
    with SqliteStore(data_dir) as store, capture_logs() as logs:
        assert list(store.snapshots("maze")) == [(1, b"one")]
    assert [(line["event"], line["position"]) for line in logs] == [("snapshot_damaged", 2)]


def test_a_snapshot_that_lost_a_chunk_is_left_out(data_dir: Path) -> None:
    _execute(data_dir, "DELETE FROM snapshot_chunk WHERE CAST(data AS TEXT) = 'two'")
    with SqliteStore(data_dir) as store:
        assert list(store.snapshots("maze")) == [(1, b"one")]


def test_a_snapshot_without_its_end_is_absent_and_swept_away(data_dir: Path) -> None:
    _execute(data_dir, "UPDATE snapshot SET bytes = NULL, checksum = NULL WHERE position = 2")
    with SqliteStore(data_dir) as store:
        assert list(store.snapshots("maze")) == [(1, b"one")]
    with closing(sqlite3.connect(data_dir / DATABASE_NAME)) as connection:
        assert connection.execute("SELECT CAST(data AS TEXT) FROM snapshot_chunk").fetchall() == [("one",)]


def test_what_a_half_done_deletion_left_is_swept_away(data_dir: Path) -> None:
    _execute(data_dir, "DELETE FROM curriculum")
    SqliteStore(data_dir).close()
    with closing(sqlite3.connect(data_dir / DATABASE_NAME)) as connection:
        for table in ("journal", "snapshot", "snapshot_chunk"):
            assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("UPDATE journal SET record = CAST('B' AS BLOB) WHERE position = 2", "record 2 is damaged"),
        ("UPDATE journal SET position = 4 WHERE position = 3", "record 3 is missing"),
        ("DELETE FROM journal WHERE position = 2", "record 2 is missing"),
        ("DELETE FROM journal WHERE position = 3", "record 3 is missing"),
        ("DELETE FROM journal", "record 1 is missing"),
    ],
)
def test_a_damaged_or_missing_record_is_named_and_never_skipped(data_dir: Path, damage: str, message: str) -> None:
    _execute(data_dir, damage)
    with SqliteStore(data_dir) as store, pytest.raises(CorruptJournalError, match=message):
        list(store.read("maze", after=0))


def test_data_of_a_later_version_is_refused(data_dir: Path) -> None:
    _execute(data_dir, "PRAGMA user_version = 99")
    with pytest.raises(StoreVersionError, match="version 99"):
        SqliteStore(data_dir)


def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / DATABASE_NAME).write_bytes(b"my thesis, chapter 1\n" * 100)
    with pytest.raises(StoreUnavailableError, match="not a database"):
        SqliteStore(tmp_path)
    assert (tmp_path / DATABASE_NAME).read_bytes().startswith(b"my thesis")


def test_a_database_moved_away_stops_acknowledging_until_it_is_back(data_dir: Path, tmp_path: Path) -> None:
    away = tmp_path / "away"
    with SqliteStore(data_dir) as store:
        (data_dir / DATABASE_NAME).rename(away)
        with pytest.raises(StoreUnavailableError, match="was replaced"):
            store.append("maze", 4, [b"d"])
        away.rename(data_dir / DATABASE_NAME)
        assert store.last_position("maze") == 3
        store.append("maze", 4, [b"d"])
    with SqliteStore(data_dir) as store:
        assert list(store.read("maze", after=3)) == [(4, b"d")]


def test_a_database_replaced_by_another_one_is_not_written_to(data_dir: Path) -> None:
    path = data_dir / DATABASE_NAME
    with SqliteStore(data_dir) as store:
        shutil.copy(path, data_dir / "copy")
        os.replace(data_dir / "copy", path)
        with pytest.raises(StoreUnavailableError):
            store.append("maze", 4, [b"d"])


def test_a_full_disk_refuses_the_append_and_the_next_one_succeeds_when_there_is_room(data_dir: Path) -> None:
    with SqliteStore(data_dir) as store:
        pages = store._connection.execute("PRAGMA page_count").fetchone()[0]
        store._connection.execute(f"PRAGMA max_page_count = {pages}")  # SQLite's own way to be full: SQLITE_FULL
        with pytest.raises(StoreUnavailableError, match="full"):
            store.append("maze", 4, [bytes(100_000)])
        assert store.last_position("maze") == 3
        store._connection.execute("PRAGMA max_page_count = 1000000")
        store.append("maze", 4, [bytes(100_000)])
        assert list(store.read("maze", after=3)) == [(4, bytes(100_000))]


def test_a_database_locked_by_a_tool_is_unavailable_and_then_back(data_dir: Path) -> None:
    with SqliteStore(data_dir) as store, closing(sqlite3.connect(data_dir / DATABASE_NAME)) as tool:
        tool.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailableError, match="locked"):
            store.append("maze", 4, [b"d"])
        tool.execute("ROLLBACK")
        store.append("maze", 4, [b"d"])


def test_only_the_owner_may_look_into_a_directory_that_the_store_made(tmp_path: Path) -> None:
    with SqliteStore(tmp_path / "new" / "data"):
        assert (tmp_path / "new" / "data").stat().st_mode & 0o777 == 0o700
