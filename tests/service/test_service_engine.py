"""The engine when its store fails, when a snapshot is damaged, and when the host itself does."""

from __future__ import annotations

import itertools
import sqlite3
import threading
import time
from collections.abc import Collection, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import numpy as np
import pytest
from structlog.testing import capture_logs

from syllabus_client.task_spaces import DiscreteTaskSpace
from syllabus_client.wire import curriculum_pb2 as pb
from syllabus_service.curricula import Curriculum
from syllabus_service.host import CurriculumHost
from syllabus_service.lease_clock import LeaseClock
from syllabus_service.runner import RunnerSettings
from syllabus_service.store import (
    MemoryStore,
    SqliteStore,
    StoredCurriculum,
    StoreFencedError,
    StoreUnavailableError,
)
from tests.service.serving import TIMEOUT, Serving, Stream, column, episodes, num_episodes, serving, spec, status


class Unsavable(Curriculum):
    """A user's class that names no state: it counts its episodes, and draws that number."""

    def _draw(self, k: int) -> np.ndarray:
        return np.full(k, self.num_episodes)


UNSAVABLE = f"{Unsavable.__module__}:{Unsavable.__qualname__}"


@dataclass
class Trouble:
    """What goes wrong with a store."""

    away: bool = False
    """Every append fails."""
    forget_answers: int = 0
    """So many appends or creations are written, and then their answer is lost."""
    fail_snapshots: bool = False
    gate: threading.Event = field(default_factory=threading.Event)
    """Every append waits for it."""
    tried: threading.Event = field(default_factory=threading.Event)
    """Set by every append."""


class TroubledStore(MemoryStore):
    """A store that fails when it is told to, in the ways that a disk or a network does."""

    def __init__(self) -> None:
        super().__init__()
        self.trouble = Trouble()
        self.trouble.gate.set()
        self.sizes: list[int] = []

    def append(self, name: str, first_position: int, records: Sequence[bytes]) -> None:
        self.trouble.tried.set()
        self.trouble.gate.wait(TIMEOUT)
        if self.trouble.away:
            raise StoreUnavailableError("the disk is full")
        super().append(name, first_position, records)
        self.sizes.append(len(records))
        if self.trouble.forget_answers:
            self.trouble.forget_answers -= 1
            raise StoreUnavailableError("the connection was lost")

    def create_curriculum(self, name: str, incarnation: int, spec: bytes) -> None:
        super().create_curriculum(name, incarnation, spec)
        if self.trouble.forget_answers:
            self.trouble.forget_answers -= 1
            raise StoreUnavailableError("the connection was lost")

    def save_snapshot(self, name: str, position: int, state: bytes) -> None:
        if self.trouble.fail_snapshots:
            raise StoreUnavailableError("the disk is full")
        super().save_snapshot(name, position, state)


def _get(sequence: int, num_tasks: int = 1) -> pb.GetTaskRequest:
    return pb.GetTaskRequest(curriculum="maze", session_id="w", sequence=sequence, num_tasks=num_tasks)


def _report(sequence: int, tasks: list[int]) -> pb.ReportEpisodeRequest:
    return pb.ReportEpisodeRequest(curriculum="maze", session_id="w", sequence=sequence, episodes=episodes(tasks))


def _journal(store: MemoryStore) -> list[int]:
    return [position for position, _ in store.read("maze", after=0)]


def test_while_the_store_is_away_nothing_is_acknowledged_and_new_requests_are_refused() -> None:
    store = TroubledStore()
    with serving(store) as server:
        server.create()
        server.stub.ReportEpisode(_report(1, [1]), timeout=TIMEOUT)
        store.trouble.away = True
        store.trouble.tried.clear()
        pending = server.stub.ReportEpisode.future(_report(2, [2]), timeout=TIMEOUT)
        assert store.trouble.tried.wait(TIMEOUT)
        while server.engine.available:
            time.sleep(0.001)
        for call, request in (
            (server.stub.ReportEpisode, _report(2, [2])),
            (server.stub.GetStatistics, pb.GetStatisticsRequest(curriculum="maze")),
        ):
            with pytest.raises(grpc.RpcError) as refused:
                call(request, timeout=TIMEOUT)
            assert status(refused.value) == "UNAVAILABLE"
            assert "disk is full" in refused.value.details()
        assert not pending.done()
        assert _journal(store) == [1]
        store.trouble.away = False
        assert pending.result().reply.position == 2
        assert _journal(store) == [1, 2]
        assert server.stub.ReportEpisode(_report(2, [2]), timeout=TIMEOUT) == pending.result()
        assert num_episodes(server.stub) == {1: 1, 2: 1}


def test_a_write_whose_answer_was_lost_is_not_written_again() -> None:
    store = TroubledStore()
    with serving(store) as server:
        server.create()
        store.trouble.forget_answers = 2
        for sequence in range(1, 5):
            server.stub.ReportEpisode(_report(sequence, [sequence]), timeout=TIMEOUT)
        assert num_episodes(server.stub) == {1: 1, 2: 1, 3: 1, 4: 1}
        assert _journal(store) == [1, 2, 3, 4]


def test_a_creation_whose_answer_was_lost_is_found_when_it_is_asked_for_again() -> None:
    store = TroubledStore()
    with serving(store) as server:
        store.trouble.forget_answers = 1
        request = pb.CreateCurriculumRequest(name="maze", spec=spec(), allow_existing=True)
        with pytest.raises(grpc.RpcError) as refused:
            server.stub.CreateCurriculum(request, timeout=TIMEOUT)
        assert status(refused.value) == "UNAVAILABLE"
        found = server.stub.CreateCurriculum(request, timeout=TIMEOUT).curriculum
        assert found.incarnation == store.list_curricula()[0].incarnation
        assert server.stub.GetTask(_get(1), timeout=TIMEOUT).incarnation == found.incarnation


def test_a_stop_while_the_store_is_away_does_not_hang_and_acknowledges_nothing() -> None:
    store = TroubledStore()
    with serving(store) as server:
        server.create()
        store.trouble.away = True
        stream = Stream(server.stub)
        stream.open()
        store.trouble.tried.clear()
        stream.send_batch(1)
        assert store.trouble.tried.wait(TIMEOUT)
        server.run(lambda: server.server.stop(0.1))
        assert status(stream.error()) in ("UNAVAILABLE", "CANCELLED")
    assert _journal(store) == []


def test_another_writer_s_record_ends_the_curriculum_here_and_is_never_overwritten() -> None:
    store = MemoryStore()
    with serving(store) as server:
        server.create()
        store.append("maze", 1, [b"somebody else's"])
        for _ in range(2):
            with pytest.raises(grpc.RpcError) as refused:
                server.stub.GetTask(_get(1), timeout=TIMEOUT)
            assert status(refused.value) == "UNAVAILABLE"
        assert "taken over" in refused.value.details()
        assert not server.engine.available
        assert list(store.read("maze", 0)) == [(1, b"somebody else's")]


def _run_twice(store: MemoryStore | SqliteStore, algorithm: str, settings: RunnerSettings, count: int) -> Serving:
    """Report episodes in one engine; the next one must know them."""
    with serving(store, settings=settings, allowed_curricula=[UNSAVABLE]) as server:
        server.create(algorithm=algorithm)
        for sequence in range(1, count + 1):
            server.stub.ReportEpisode(_report(sequence, [sequence % 3]), timeout=TIMEOUT)
    return server


def test_snapshots_are_taken_by_journal_length_and_the_journal_is_trimmed_behind_the_kept_ones(
    tmp_path: Path,
) -> None:
    settings = RunnerSettings(snapshot_after_commands=10, keep_snapshots=2)
    with SqliteStore(tmp_path) as store:
        _run_twice(store, "domain_randomization", settings, 57)
        kept = [position for position, _ in store.snapshots("maze")]
        assert kept[0] == 57  # the last one, taken by the stop
        assert len(kept) == 2
        assert [position for position, _ in store.read("maze", kept[-1])] == list(range(kept[-1] + 1, 58))
        with serving(store) as server:
            assert num_episodes(server.stub) == {0: 19, 1: 19, 2: 19}


def test_a_snapshot_is_taken_when_its_commands_took_as_long_as_a_recovery_may() -> None:
    store = MemoryStore()
    settings = RunnerSettings(snapshot_after_work_seconds=1e-9, keep_snapshots=1000)
    _run_twice(store, "domain_randomization", settings, 10)
    assert len(list(store.snapshots("maze"))) > 1  # and not only the one of the stop


class SlowSnapshots(MemoryStore):
    """A store that notes in which order things are done; a snapshot lasts until another request has been queued."""

    def __init__(self) -> None:
        super().__init__()
        self.done: list[str] = []
        self.queued = threading.Event()

    def append(self, name: str, first_position: int, records: Sequence[bytes]) -> None:
        self.done.append(f"command {first_position}")
        super().append(name, first_position, records)

    def save_snapshot(self, name: str, position: int, state: bytes) -> None:
        self.queued.wait(TIMEOUT)
        time.sleep(0.05)  # long enough for the next command to be applied, if nothing held it
        self.done.append(f"snapshot {position}")
        super().save_snapshot(name, position, state)


def test_senders_wait_for_a_snapshot_where_a_recovery_without_it_would_have_too_much_to_replay() -> None:
    store = SlowSnapshots()
    with serving(store, settings=RunnerSettings(snapshot_after_work_seconds=1e-9)) as server:
        server.create()
        stream = Stream(server.stub)
        stream.open()
        stream.send_batch(1, pb.MetricsBatch(num_tasks=1))
        stream.receive()
        stream.send_batch(2, pb.MetricsBatch(num_tasks=1))
        store.queued.set()
        stream.receive()
        stream.close()
    assert store.done[:3] == ["command 1", "snapshot 1", "command 2"]


def test_a_damaged_newest_snapshot_falls_back_to_the_one_before_and_says_so(tmp_path: Path) -> None:
    with SqliteStore(tmp_path) as store:
        _run_twice(store, "domain_randomization", RunnerSettings(snapshot_after_commands=10), 35)
        positions = [position for position, _ in store.snapshots("maze")]
    assert len(positions) > 1
    with closing(sqlite3.connect(tmp_path / "syllabus.sqlite3")) as connection, connection:
        connection.execute(
            "UPDATE snapshot_chunk SET data = zeroblob(length(data)) WHERE snapshot_id ="
            " (SELECT id FROM snapshot ORDER BY position DESC LIMIT 1)"
        )
    with capture_logs() as logs, SqliteStore(tmp_path) as store, serving(store) as server:
        assert sum(num_episodes(server.stub).values()) == 35
    said = {line["event"]: line for line in logs}
    assert said["snapshot_damaged"]["position"] == positions[0]
    assert (said["recovered"]["snapshot_position"], said["recovered"]["position"]) == (positions[1], 35)


def test_a_curriculum_that_cannot_be_saved_recovers_by_replay_and_its_journal_is_kept() -> None:
    store = MemoryStore()
    settings = RunnerSettings(snapshot_after_commands=5)
    _run_twice(store, UNSAVABLE, settings, 8)
    assert list(store.snapshots("maze")) == []
    assert _journal(store) == list(range(1, 9))
    with serving(store) as server:
        assert column(server.stub.GetTask(_get(9), timeout=TIMEOUT).reply.tasks.task) == [8]


def test_a_snapshot_that_cannot_be_written_harms_nobody() -> None:
    store = TroubledStore()
    store.trouble.fail_snapshots = True
    _run_twice(store, "domain_randomization", RunnerSettings(snapshot_after_commands=3), 10)
    assert _journal(store) == list(range(1, 11))


def test_one_curriculum_that_cannot_be_recovered_does_not_stop_the_others() -> None:
    store = MemoryStore()
    with serving(store) as server:
        server.create("maze")
        server.create("good")
    store.append("maze", 1, [b"not a record"])
    with serving(store) as server:
        with pytest.raises(grpc.RpcError) as refused:
            server.stub.GetTask(_get(1), timeout=TIMEOUT)
        assert status(refused.value) == "FAILED_PRECONDITION"
        assert "record 1 cannot be replayed" in refused.value.details()
        good = pb.GetTaskRequest(curriculum="good", session_id="w", sequence=1, num_tasks=1)
        assert server.stub.GetTask(good, timeout=TIMEOUT).reply.position == 1
        server.stub.DeleteCurriculum(pb.DeleteCurriculumRequest(curriculum="maze"), timeout=TIMEOUT)
        assert server.create("maze").position == 0


class SharedStore(MemoryStore):
    """A store that another process may create curricula in, or take them over; it notes when it was looked into."""

    is_shared = True

    def __init__(self) -> None:
        super().__init__()
        self.looks: list[float] = []
        self.taken_over: set[str] = set()
        self.away = False

    def find_curricula(self, names: Collection[str]) -> list[StoredCurriculum]:
        self.looks.append(time.monotonic())
        if self.away:
            raise StoreUnavailableError("the database is away")
        return super().find_curricula(names)

    def take_over(self, name: str) -> None:
        if name in self.taken_over:
            raise StoreFencedError(f"{name}: another service has taken this curriculum over")
        super().take_over(name)


def _elsewhere(store: SharedStore, *names: str) -> None:
    """Another process creates curricula."""
    for number, name in enumerate(names, 1):
        store.create_curriculum(name, number, spec().SerializeToString(deterministic=True))


def test_a_curriculum_that_another_process_created_later_is_taken_up_when_it_is_asked_for() -> None:
    store = SharedStore()
    with serving(store) as server:
        _elsewhere(store, "maze", "zoo", "gone", "half")
        assert server.stub.GetTask(_get(1), timeout=TIMEOUT).incarnation == 1
        for allow_existing, other, expected in (
            (False, {}, "ALREADY_EXISTS"),
            (True, {"seed": 9}, "ALREADY_EXISTS"),
            (True, {}, None),
        ):
            request = pb.CreateCurriculumRequest(name="zoo", spec=spec(**other), allow_existing=allow_existing)
            if expected is None:
                assert server.stub.CreateCurriculum(request, timeout=TIMEOUT).curriculum.incarnation == 2
            else:
                with pytest.raises(grpc.RpcError) as refused:
                    server.stub.CreateCurriculum(request, timeout=TIMEOUT)
                assert status(refused.value) == expected
        server.stub.DeleteCurriculum(pb.DeleteCurriculumRequest(curriculum="gone"), timeout=TIMEOUT)
        assert [each.name for each in store.list_curricula()] == ["half", "maze", "zoo"]
        store.append("half", 1, [b"not a record"])
        with pytest.raises(grpc.RpcError) as refused:
            server.stub.GetCurriculum(pb.GetCurriculumRequest(curriculum="half"), timeout=TIMEOUT)
        assert status(refused.value) == "FAILED_PRECONDITION"
        server.stub.DeleteCurriculum(pb.DeleteCurriculumRequest(curriculum="half"), timeout=TIMEOUT)
        assert server.engine.available


def test_however_often_a_wrong_name_is_asked_for_the_store_is_seldom_looked_into() -> None:
    store = SharedStore()
    with serving(store) as server:
        for many in (5, 200):
            asked = [
                server.stub.GetCurriculum.future(pb.GetCurriculumRequest(curriculum=f"no-{n % 7}"), timeout=TIMEOUT)
                for n in range(many)
            ]
            assert {status(each.exception()) for each in asked} == {"NOT_FOUND"}
        for _ in range(4):  # one after the other
            with pytest.raises(grpc.RpcError):
                server.stub.GetTask(_get(1), timeout=TIMEOUT)
    assert all(later - earlier >= 0.2 for earlier, later in itertools.pairwise(store.looks))
    assert len(store.looks) < 5 + 200
    assert not SqliteStore.is_shared  # whoever else would create there is kept out by a lock


def test_a_name_that_cannot_be_looked_for_now_is_unavailable_and_not_unknown() -> None:
    store = SharedStore()
    with serving(store) as server:
        _elsewhere(store, "maze")
        store.away = True
        with pytest.raises(grpc.RpcError) as refused:
            server.stub.GetTask(_get(1), timeout=TIMEOUT)
        assert status(refused.value) == "UNAVAILABLE"
        store.away = False
        assert server.stub.GetTask(_get(1), timeout=TIMEOUT).incarnation == 1


@pytest.mark.parametrize("when", ["at the start", "later"])
def test_a_curriculum_that_is_taken_over_while_it_is_recovered_is_unavailable_as_one_being_served(when: str) -> None:
    """A client that tries again may reach the service that has it."""
    store = SharedStore()
    store.taken_over.add("maze")
    if when == "at the start":
        _elsewhere(store, "maze")
    with serving(store) as server:
        if when == "later":
            assert server.engine.available
            _elsewhere(store, "maze")
        for call in (
            lambda: server.stub.GetTask(_get(1), timeout=TIMEOUT),
            lambda: server.create("maze"),
            lambda: server.stub.DeleteCurriculum(pb.DeleteCurriculumRequest(curriculum="maze"), timeout=TIMEOUT),
        ):
            with pytest.raises(grpc.RpcError) as refused:
                call()
            assert status(refused.value) == "UNAVAILABLE"
            assert "taken over by another service" in refused.value.details()
        assert (server.engine.available, server.engine.num_broken) == (False, 0)
        assert server.engine.is_taken_over("maze")


def test_a_curriculum_that_is_about_to_be_created_is_unavailable_and_the_service_not_ready_until_it_is() -> None:
    with serving(MemoryStore()) as server:
        server.create("zoo")
        server.call(lambda: server.engine.expect(["maze", "never"]))
        assert not server.engine.available
        with pytest.raises(grpc.RpcError) as refused:
            server.stub.GetTask(_get(1), timeout=TIMEOUT)
        assert status(refused.value) == "UNAVAILABLE"
        server.create("maze")
        assert server.stub.GetTask(_get(1), timeout=TIMEOUT).incarnation
        assert not server.engine.available
        server.call(lambda: server.engine.expect_no_more("never"))
        assert server.engine.available
        never = pb.GetTaskRequest(curriculum="never", session_id="w", sequence=1, num_tasks=1)
        with pytest.raises(grpc.RpcError) as refused:
            server.stub.GetTask(never, timeout=TIMEOUT)
        assert status(refused.value) == "NOT_FOUND"


def test_a_host_that_fails_half_way_is_read_again_and_only_the_command_at_fault_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A bug of the service itself: the state may be half changed, so it is thrown away."""
    commit = CurriculumHost.apply

    def faulty(self: CurriculumHost, commands, now=0.0):
        batch = commit(self, commands, now)
        if any(command.session_id == "poison" for command in commands):
            raise ZeroDivisionError("a bug")
        return batch

    with serving(MemoryStore()) as server:
        server.create()
        server.stub.ReportEpisode(_report(1, [1]), timeout=TIMEOUT)
        monkeypatch.setattr(CurriculumHost, "apply", faulty)
        poison = pb.ReportEpisodeRequest(curriculum="maze", session_id="poison", sequence=1, episodes=episodes([5]))
        pending = [server.stub.ReportEpisode.future(poison, timeout=TIMEOUT)]
        pending += [
            server.stub.ReportEpisode.future(
                pb.ReportEpisodeRequest(curriculum="maze", session_id=f"s{n}", sequence=1, episodes=episodes([2])),
                timeout=TIMEOUT,
            )
            for n in range(5)
        ]
        assert status(pending[0].exception()) == "FAILED_PRECONDITION"
        assert all(each.result().reply.position for each in pending[1:])
        assert num_episodes(server.stub) == {1: 1, 2: 5}


def test_a_given_curriculum_object_is_served_and_its_name_cannot_be_taken() -> None:
    with serving() as server:
        server.host("maze", Unsavable(DiscreteTaskSpace(5), seed=1), lease_seconds=60.0)
        assert column(server.stub.GetTask(_get(1), timeout=TIMEOUT).reply.tasks.task) == [0]
        with pytest.raises(grpc.RpcError) as refused:
            server.create("maze")
        assert status(refused.value) == "ALREADY_EXISTS"


def test_commands_that_arrive_during_a_write_are_committed_together_by_the_next() -> None:
    store = TroubledStore()
    store.trouble.gate.clear()
    with serving(store) as server:
        server.create()
        streams = [Stream(server.stub) for _ in range(10)]
        for number, stream in enumerate(streams):
            stream.open(session_id=f"s{number}")
        streams[0].send_batch(1)
        assert store.trouble.tried.wait(TIMEOUT)
        for stream in streams[1:]:
            stream.send_batch(1)
            stream.send(pb.StreamMetricsRequest(heartbeat=pb.Heartbeat()))
        heard = server.stub.GetCurriculum(pb.GetCurriculumRequest(curriculum="maze"), timeout=TIMEOUT)
        assert heard.curriculum.position == 0  # nothing is told before it is durable
        time.sleep(0.2)  # for the batches to arrive; if one is late, there is one more write
        store.trouble.gate.set()
        assert all(stream.receive().reply.sequence == 1 for stream in streams)
        for stream in streams:
            stream.close()
    assert store.sizes[0] == 1
    assert sum(store.sizes) == 10
    assert len(store.sizes) < 10


def test_leases_stand_still_while_the_service_is_stopped_or_its_clock_jumps() -> None:
    clock = LeaseClock(now=0.0, max_step=1.0)
    assert [clock.advance(now) for now in (0.5, 1.0, 5000.0, 5000.5, 10.0, 10.5)] == [0.5, 1.0, 2.0, 2.5, 2.5, 3.0]
