"""Backups: made beside a service that works, whole or refused, restored into a store of any kind and served on."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from syllabus_client.wire import curriculum_pb2 as pb
from syllabus_service.backup import back_up, check_backup, restore
from syllabus_service.backup_file import BackupError, BackupWriter, read_backup
from syllabus_service.cli import main
from syllabus_service.runner import RunnerSettings
from syllabus_service.store import (
    CurriculumExistsError,
    Durability,
    MemoryStore,
    SqliteStore,
    Store,
    StoredCurriculum,
    StoreFencedError,
    StoreVersionError,
)
from syllabus_service.store.postgresql import PostgresqlStore
from syllabus_service.store.sqlite_reader import SqliteReader
from tests.postgresql import PostgresServer
from tests.service.serving import TIMEOUT, Serving, column, serving, spec
from tests.service_process import ServiceProcess

_SMALL = RunnerSettings(snapshot_after_commands=8, keep_snapshots=1, tick_seconds=0.01)


def _draw(server: Serving, sequence: int, session_id: str = "worker", num_tasks: int = 4) -> pb.BatchReply:
    request = pb.GetTaskRequest(curriculum="maze", session_id=session_id, sequence=sequence, num_tasks=num_tasks)
    return server.stub.GetTask(request, timeout=TIMEOUT).reply


def _run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, [str(each) for each in arguments])
    return result.exit_code, result.output


def _backed_up(store: Store, path: Path) -> Path:
    with path.open("wb") as stream:
        list(back_up(store, stream))
    return path


@pytest.fixture
def history(tmp_path: Path) -> tuple[Path, pb.BatchReply]:
    """A data directory with a snapshot and a journal behind it, and the tasks that its service would draw next."""
    with SqliteStore(tmp_path / "data", Durability.OS) as store:
        with serving(store) as server:
            server.create(seed=5)
            for sequence in range(1, 6):
                _draw(server, sequence)
        with serving(store) as server:  # a stop left a snapshot
            _draw(server, 6)
            drawn = _draw(server, 7)
    with SqliteStore(tmp_path / "data", Durability.OS) as store:
        assert [position for position, _ in store.snapshots("maze")] == [7, 5]
    return tmp_path / "data", drawn


def test_a_backup_restored_into_a_database_of_another_kind_goes_on_with_the_same_tasks(
    history: tuple[Path, pb.BatchReply], database: PostgresServer, tmp_path: Path
) -> None:
    data, _ = history
    file = tmp_path / "backup"
    assert _run("backup", file, "--data-dir", data) == (0, "maze\t7\t0 records\n")
    url = database.create_database("restored")
    assert _run("restore", file, "--store", url, "--moved") == (0, "maze\t7\t0 records\n")
    with SqliteStore(data) as original, serving(original) as server:
        expected = _draw(server, 8)
    with PostgresqlStore(url) as copy, serving(copy) as server:
        assert _draw(server, 8) == expected
        assert _draw(server, 8) == expected  # sent again: the session is the same one
    back = tmp_path / "back"
    assert _run("backup", back, "--store", url)[0] == 0
    assert check_backup(back)[0].last_position == 8


def test_a_restored_curriculum_is_another_one_to_sessions_unless_nothing_was_lost(
    history: tuple[Path, pb.BatchReply], tmp_path: Path
) -> None:
    data, _ = history
    with SqliteReader(data) as reader:
        incarnation = reader.list_curricula()[0].incarnation
        with (tmp_path / "backup").open("wb") as stream:
            list(back_up(reader, stream))
    lost, moved = MemoryStore(), MemoryStore()
    list(restore(tmp_path / "backup", lost))
    list(restore(tmp_path / "backup", moved, moved=True))
    assert moved.list_curricula()[0].incarnation == incarnation
    assert lost.list_curricula()[0].incarnation not in (0, incarnation)
    assert lost.list_curricula()[0].spec == moved.list_curricula()[0].spec


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_backup_beside_a_service_that_works_has_all_that_was_acknowledged_before_it(
    kind: str, database: PostgresServer, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path}/data" if kind == "sqlite" else database.create_database("busy")
    store = SqliteStore(tmp_path / "data", Durability.OS) if kind == "sqlite" else PostgresqlStore(url, Durability.OS)
    acknowledged, enough = 0, threading.Event()
    with store, serving(store, settings=_SMALL) as server:
        server.create()

        def work() -> None:
            nonlocal acknowledged
            while not enough.is_set():
                _draw(server, acknowledged + 1)
                acknowledged += 1

        worker = threading.Thread(target=work)
        worker.start()
        try:
            for number in range(4):
                before = acknowledged
                code, said = _run("backup", tmp_path / f"backup-{number}", "--store", url)
                assert code == 0, said
                copied = MemoryStore()
                list(restore(tmp_path / f"backup-{number}", copied))
                assert copied.last_position("maze") >= before
                with serving(copied) as other:  # a journal that can be replayed to its end
                    found = other.stub.GetCurriculum(pb.GetCurriculumRequest(curriculum="maze"), timeout=TIMEOUT)
                    assert found.curriculum.position == copied.last_position("maze")
        finally:
            enough.set()
            worker.join()
        _draw(server, acknowledged + 1)  # and the service was neither fenced nor blocked


def test_a_restored_curriculum_is_taken_over_by_the_service_that_starts_next_and_fenced_against_its_restorer(
    history: tuple[Path, pb.BatchReply], database: PostgresServer, tmp_path: Path
) -> None:
    with SqliteReader(history[0]) as reader, (tmp_path / "backup").open("wb") as stream:
        list(back_up(reader, stream))
    url = database.create_database("fenced")
    with PostgresqlStore(url) as restorer:
        list(restore(tmp_path / "backup", restorer))
        with PostgresqlStore(url) as later, serving(later) as server:
            _draw(server, 1, session_id="new")
            with pytest.raises(StoreFencedError):
                restorer.append("maze", 8, [b"late"])


def test_what_is_restored_beside_a_service_on_the_same_database_is_served_by_it(
    history: tuple[Path, pb.BatchReply], database: PostgresServer, tmp_path: Path
) -> None:
    data, last = history
    file = tmp_path / "backup"
    assert _run("backup", file, "--data-dir", data)[0] == 0
    url = database.create_database("beside")
    with PostgresqlStore(url) as earlier, serving(earlier) as server:
        assert _run("restore", file, "--store", url, "--moved")[0] == 0
        assert _draw(server, 7) == last  # sent again: the session is the same one
        assert _draw(server, 8).position == 8
        assert server.engine.available


def test_a_file_that_was_cut_anywhere_or_changed_anywhere_restores_nothing(tmp_path: Path) -> None:
    source = MemoryStore()
    source.create_curriculum("maze", 7, b"spec")
    source.append("maze", 1, [b"first", b"second", b"third"])
    source.save_snapshot("maze", 2, b"state")
    source.create_curriculum("zoo", 8, b"")
    whole = _backed_up(source, tmp_path / "whole").read_bytes()
    target, damaged = MemoryStore(), tmp_path / "damaged"
    for at in range(len(whole)):
        for content in (whole[:at], whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]):
            damaged.write_bytes(content)
            with pytest.raises(BackupError):
                list(restore(damaged, target))
    damaged.write_bytes(whole + b"x")
    with pytest.raises(BackupError, match="after its end"):
        list(restore(damaged, target))
    assert target.list_curricula() == []
    assert [each.name for each in restore(tmp_path / "whole", target)] == ["maze", "zoo"]
    assert list(target.read("maze", after=2)) == [(3, b"third")]


def test_a_file_of_a_later_format_is_refused_by_its_version(tmp_path: Path) -> None:
    content = bytearray(_backed_up(MemoryStore(), tmp_path / "backup").read_bytes())
    content[9] = 2
    (tmp_path / "backup").write_bytes(content)
    with pytest.raises(BackupError, match="format version 2; this program knows up to 1"):
        list(restore(tmp_path / "backup", MemoryStore()))


def test_right_checksums_around_nonsense_are_damage(tmp_path: Path) -> None:
    stream = io.BytesIO()
    writer = BackupWriter(stream)
    writer.curriculum(StoredCurriculum("maze", 1, b""))
    writer._part(4, b"short")  # type: ignore[arg-type]
    with pytest.raises(BackupError, match="damaged"):
        [list(each.records) for each in read_backup(stream)]


def test_only_the_curricula_asked_for_are_copied_and_restored(tmp_path: Path) -> None:
    source, target = MemoryStore(), MemoryStore()
    for name in ("maze", "zoo", "doom"):
        source.create_curriculum(name, 1, b"")
    with (tmp_path / "backup").open("wb") as stream:
        assert [each.name for each in back_up(source, stream, ["zoo", "maze"])] == ["maze", "zoo"]
    assert [each.name for each in restore(tmp_path / "backup", target, ["zoo"])] == ["zoo"]
    with pytest.raises(BackupError, match="no curriculum doom; there are: maze, zoo"):
        list(restore(tmp_path / "backup", target, ["doom"]))
    with pytest.raises(BackupError, match="no curriculum nothing"):
        list(back_up(source, io.BytesIO(), ["nothing"]))


def test_a_name_that_is_taken_is_refused_before_anything_is_restored(tmp_path: Path) -> None:
    source, target = MemoryStore(), MemoryStore()
    for name in ("maze", "zoo"):
        source.create_curriculum(name, 1, b"")
    target.create_curriculum("zoo", 2, b"other")
    with pytest.raises(CurriculumExistsError, match="zoo"):
        list(restore(_backed_up(source, tmp_path / "backup"), target))
    assert target.list_curricula() == [StoredCurriculum("zoo", 2, b"other")]


def test_a_history_that_is_trimmed_while_it_is_read_is_read_again() -> None:
    class Trimmed(MemoryStore):
        """Between a look at its snapshots and one at its journal, it takes another snapshot and trims."""

        def snapshots(self, name: str) -> Iterator[tuple[int, bytes]]:
            found = super().snapshots(name)
            if self.last_position(name) == 2:
                self.append(name, 3, [b"third", b"fourth"])
                self.save_snapshot(name, 3, b"state 3")
                self.trim(name, up_to=3, keep_snapshots=1)
            return found

    source = Trimmed()
    source.create_curriculum("maze", 1, b"")
    source.append("maze", 1, [b"first", b"second"])
    source.save_snapshot("maze", 1, b"state 1")
    stream = io.BytesIO()
    list(back_up(source, stream))
    (each,) = ((one.snapshot, list(one.records)) for one in read_backup(stream))
    assert each == ((3, b"state 3"), [b"fourth"])


def test_a_backup_goes_through_a_pipe_and_is_there_only_when_it_is_whole(
    history: tuple[Path, pb.BatchReply], tmp_path: Path
) -> None:
    program = "from syllabus_service.cli import main; main()"
    command = [sys.executable, "-c", program, "backup", "-", "--data-dir", str(history[0])]
    piped = subprocess.run(command, check=True, capture_output=True, timeout=60).stdout
    (tmp_path / "piped").write_bytes(piped)
    assert check_backup(tmp_path / "piped")[0].last_position == 7
    code, said = _run("backup", tmp_path / "file", "--data-dir", history[0], "--curriculum", "nothing")
    assert (code, said) == (1, "Error: there is no curriculum nothing; there are: maze\n")
    assert sorted(os.listdir(tmp_path)) == ["data", "piped"]


def test_a_store_in_use_a_missing_one_and_one_of_a_later_version_are_told_in_one_line(
    start_service: Callable[..., ServiceProcess], tmp_path: Path
) -> None:
    start_service()
    assert _run("backup", tmp_path / "backup", "--data-dir", tmp_path / "data") == (0, "")
    code, said = _run("restore", tmp_path / "backup", "--data-dir", tmp_path / "data")
    assert (code, said.count("\n"), "in use by process" in said) == (1, 1, True)
    code, said = _run("backup", tmp_path / "other", "--data-dir", tmp_path / "nowhere")
    assert (code, said.count("\n"), "there is no syllabus.sqlite3" in said) == (1, 1, True)
    assert _run("backup", tmp_path / "other")[0] == 2
    assert spec().algorithm  # the service's own data is of this version; a later one's is not read
    with SqliteStore(tmp_path / "later") as store:
        store._connection.execute("PRAGMA user_version = 99")
    with pytest.raises(StoreVersionError, match="version 99"):
        SqliteReader(tmp_path / "later")


def test_assignments_that_are_open_stay_open(history: tuple[Path, pb.BatchReply], tmp_path: Path) -> None:
    data, drawn = history
    assert _run("backup", tmp_path / "backup", "--data-dir", data)[0] == 0
    assert _run("restore", tmp_path / "backup", "--store", f"sqlite:///{tmp_path}/copy", "--moved")[0] == 0
    with SqliteStore(tmp_path / "copy") as store, serving(store) as server:
        report = pb.ReportEpisodeRequest(curriculum="maze", session_id="worker", sequence=8)
        report.released.CopyFrom(drawn.tasks.assignment_id)
        reply = server.stub.ReportEpisode(report, timeout=TIMEOUT).reply
        assert len(column(drawn.tasks.assignment_id)) == 4
        assert not reply.rejections
