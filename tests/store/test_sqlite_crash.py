"""A process that is killed while it writes leaves a prefix that holds everything it acknowledged."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from syllabus_service.store import Durability, SqliteStore
from syllabus_service.store.sqlite import DATABASE_NAME

# Appends batches and saves snapshots for ever, and says after each call up to where it was told "durable".
_WRITER = """
import sys
from syllabus_service.store import Durability, SqliteStore

def record(position):
    return b"%d:" % position + bytes([position % 251]) * (position * 37 % 30_000)

store = SqliteStore(sys.argv[1], Durability(sys.argv[2]))
if not store.list_curricula():
    store.create_curriculum("maze", 1, b"")
position = store.last_position("maze")
print(position, flush=True)
while True:
    size = position % 5 + 1
    store.append("maze", position + 1, [record(n) for n in range(position + 1, position + size + 1)])
    position += size
    print(position, flush=True)
    if position % 7 == 0:
        store.save_snapshot("maze", position, record(position))
        store.trim("maze", position, keep_snapshots=2)
"""


def _record(position: int) -> bytes:
    return b"%d:" % position + bytes([position % 251]) * (position * 37 % 30_000)


def _check(data_dir: Path, acknowledged: int) -> None:
    with SqliteStore(data_dir) as store:
        snapshots = list(store.snapshots("maze"))
        for position, state in snapshots:
            assert state == _record(position)
        start = snapshots[-1][0] if snapshots else 0
        records = list(store.read("maze", after=start))
        assert [position for position, _ in records] == list(range(start + 1, start + len(records) + 1))
        assert all(record == _record(position) for position, record in records)
        assert store.last_position("maze") == start + len(records) >= acknowledged


def _read_lines(writer: subprocess.Popen[str], count: int) -> int:
    assert writer.stdout is not None
    position = 0
    for _ in range(count):
        position = int(writer.stdout.readline())
    return position


@pytest.mark.parametrize("durability", [Durability.FSYNC, Durability.NONE])
def test_a_writer_killed_in_the_middle_leaves_a_prefix_with_everything_acknowledged(
    tmp_path: Path, durability: Durability
) -> None:
    rng = random.Random(20261122)
    for _ in range(6):
        arguments = [sys.executable, "-c", _WRITER, str(tmp_path), durability.value]
        with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as writer:
            _read_lines(writer, rng.randrange(2, 60))
            time.sleep(rng.random() * 0.005)
            writer.send_signal(signal.SIGKILL)
            assert writer.stdout is not None
            lines = writer.stdout.read().splitlines(keepends=True)  # what it said before it died
        complete = [int(line) for line in lines if line.endswith("\n")]
        _check(tmp_path, complete[-1] if complete else 0)


def test_copies_of_the_files_taken_while_it_writes_open_as_a_prefix(tmp_path: Path) -> None:
    """A power cut, as a snapshot of the disk would show it: the log and the file, copied while the process writes."""
    data_dir, writer_code = tmp_path / "live", _WRITER.replace("if position % 7 == 0:", "if False:")
    arguments = [sys.executable, "-c", writer_code, str(data_dir), Durability.FSYNC.value]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as writer:
        try:
            for attempt in range(5):
                acknowledged = _read_lines(writer, 8)
                copy = tmp_path / f"copy-{attempt}"
                copy.mkdir()
                # The file before its log: the log only grows until it is folded in, and here it is too short for that.
                for name in (DATABASE_NAME, f"{DATABASE_NAME}-wal"):
                    shutil.copy(data_dir / name, copy / name)
                _check(copy, acknowledged)
        finally:
            writer.kill()
