"""Session over gRPC, against a real service process: delivery, policies, forks, the end of the process."""

from __future__ import annotations

import collections
import os
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from syllabus_client import (
    Assignment,
    BufferFullError,
    CurriculumClient,
    CurriculumNotFoundError,
    CurriculumServiceError,
    DiscreteTaskSpace,
    ServiceUnavailableError,
    Session,
    SessionSettings,
    TaskTimeoutError,
    open_session,
)
from tests.service_process import ServiceProcess

QUICK = SessionSettings(timeout=20.0, backoff_initial=0.02, backoff_max=0.1)


@pytest.fixture
def learner(service: ServiceProcess) -> Iterator[CurriculumClient]:
    with CurriculumClient(service.target, curriculum="maze") as client:
        client.create("domain_randomization", DiscreteTaskSpace(["a", "b", "c"]), seed=3)
        yield client


@pytest.fixture
def session(learner: CurriculumClient, service: ServiceProcess) -> Iterator[Session]:
    session = open_session(service.target, curriculum="maze", settings=QUICK)
    session.add_environments(2)
    yield session
    session.close()


def report(session: Session, assignment: Assignment, **changes: float) -> None:
    values = {"episode_return": 1.0, "length": 5, "progress": 1.0, "env_id": 0} | changes
    session.report_episode(assignment.id, task=assignment.encoded, **values)  # type: ignore[arg-type]


def counted(learner: CurriculumClient) -> int:
    return int(learner.statistics().total.num_episodes[0])


def test_what_is_flushed_is_counted(session: Session, learner: CurriculumClient) -> None:
    assignments = [session.next_task() for _ in range(20)]
    assert {each.task for each in assignments} <= {"a", "b", "c"}
    assert all(each.task == session.task_space.decode(each.encoded) for each in assignments)
    assert all(each.probability == pytest.approx(1 / 3) for each in assignments)
    for assignment in assignments:
        report(session, assignment)
    session.flush()
    assert counted(learner) == 20
    assert session.statistics.rows_answered == 20
    assert not session.requires_step_updates


def test_columns_are_counted_and_released_tasks_are_not(session: Session, learner: CurriculumClient) -> None:
    tasks = session.next_tasks(100)
    assert tasks.ids.dtype == np.uint64
    assert len(set(tasks.ids.tolist())) == 100
    ran = slice(0, 90)
    session.report_episodes(
        tasks.ids[ran],
        tasks.encoded[ran],
        np.arange(90.0),
        np.ones(90, np.int64),
        np.zeros(90),
        np.arange(90),
        metrics={"score": np.linspace(0, 1, 90)},
    )
    session.release(tasks.ids[90:])
    session.report_progress(int(tasks.ids[0]), tasks.encoded[0], 0.5, 0)
    session.flush()
    assert counted(learner) == 90
    assert learner.summary().num_abandoned == 10
    with pytest.raises(ValueError, match="length: expected 2 rows"):
        session.report_episodes(tasks.ids[:2], None, np.ones(2), np.ones(3, np.int64), np.ones(2), np.ones(2, np.int64))


def test_a_killed_service_costs_no_report_and_no_assignment(
    session: Session, learner: CurriculumClient, service: ServiceProcess
) -> None:
    total = 0
    for round_number in range(3):
        held = [session.next_task() for _ in range(5)]
        for assignment in held:
            report(session, assignment)
        total += 5
        if round_number < 2:
            service.restart()
    session.flush()
    assert counted(learner) == total
    statistics = session.statistics
    assert statistics.reconnects >= 2
    assert (statistics.rows_undelivered, statistics.rows_rejected, statistics.sessions_lost) == (0, {}, 0)


def test_reports_from_many_threads_are_all_counted(session: Session, learner: CurriculumClient) -> None:
    def environment(number: int) -> None:
        for _ in range(50):
            report(session, session.next_task(), env_id=number)

    threads = [threading.Thread(target=environment, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    session.flush()
    assert counted(learner) == 400


def test_a_report_that_is_not_finite_is_said_once_and_harms_nobody(session: Session, learner: CurriculumClient) -> None:
    with pytest.warns(RuntimeWarning, match=r"episode_return: expected a finite number, got nan"):
        report(session, session.next_task(), episode_return=float("nan"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report(session, session.next_task(), episode_return=float("inf"))
    report(session, session.next_task())
    session.flush()
    assert counted(learner) == 1
    assert session.statistics.episodes_invalid == 2


def test_all_who_open_the_same_share_it_until_the_last_has_closed(
    learner: CurriculumClient, service: ServiceProcess
) -> None:
    first = open_session(service.target, curriculum="maze")
    second = open_session(service.target, curriculum="maze")
    assert first is second
    first.close()
    assert second.next_task().id
    second.close()
    second.close()
    with pytest.raises(CurriculumServiceError, match="closed"):
        second.next_task()
    third = open_session(service.target, curriculum="maze")
    assert third is not second
    third.close()


def test_a_service_that_never_existed_is_named_within_the_deadline(tmp_path: Path) -> None:
    target = f"unix:{tmp_path}/nobody"
    session = open_session(target, curriculum="maze", settings=SessionSettings(timeout=0.5))
    try:
        with pytest.raises(TaskTimeoutError, match=r"nobody.* within 0.5 s"):
            session.next_task()
        with pytest.raises(ServiceUnavailableError, match=r"nobody.* within 0.5 s"):
            _ = session.task_space
        with pytest.raises(TaskTimeoutError) as caught:
            session.next_tasks(3)
        assert caught.value.target == target
    finally:
        session.close()


def test_what_cannot_be_delivered_is_said_when_the_session_closes(tmp_path: Path) -> None:
    session = open_session(f"unix:{tmp_path}/nobody", curriculum="maze", settings=QUICK)
    session.report_episode(0, task=1, episode_return=1.0, length=1, progress=0.0, env_id=0)
    with pytest.raises(ServiceUnavailableError, match="1 reports"):
        session.flush(timeout=0.1)
    with pytest.warns(RuntimeWarning, match="1 reports were not delivered"):
        session.close(timeout=0.1)


def test_an_unknown_curriculum_is_an_error_at_once(service: ServiceProcess) -> None:
    session = open_session(service.target, curriculum="nowhere", settings=SessionSettings(timeout=60.0))
    try:
        with pytest.raises(CurriculumNotFoundError, match="nowhere"):
            session.next_task()
    finally:
        session.close()


def test_the_raise_policy_raises_when_the_service_is_away(learner: CurriculumClient, service: ServiceProcess) -> None:
    session = open_session(service.target, curriculum="maze", settings=SessionSettings(on_unavailable="raise"))
    try:
        session.add_environments(1)
        session.next_task()
        service.kill()
        with pytest.raises(ServiceUnavailableError, match="is away"):
            collections.deque((session.next_task() for _ in range(100)), maxlen=0)
    finally:
        session.close(timeout=0.0)


def test_the_repeat_policy_gives_the_last_task_again(learner: CurriculumClient, service: ServiceProcess) -> None:
    settings = SessionSettings(on_unavailable="repeat_last", backoff_initial=0.02, backoff_max=0.1)
    session = open_session(service.target, curriculum="maze", settings=settings)
    try:
        session.add_environments(1)
        last = session.next_task()
        service.kill()
        while (again := session.next_task()).id:
            last = again
        assert (again.task, again.encoded) == (last.task, last.encoded)
        assert session.next_tasks(3).encoded.tolist() == [last.encoded] * 3
        report(session, again)
        service.start()
        session.flush()
        assert session.statistics.tasks_repeated == 4
        assert counted(learner) == 1
    finally:
        session.close()


def test_the_wait_policy_waits_for_the_service_to_come_back(
    session: Session, learner: CurriculumClient, service: ServiceProcess
) -> None:
    session.next_task()
    service.kill()
    got: list[Assignment] = []
    waiting = threading.Thread(target=lambda: got.extend(session.next_task() for _ in range(10)))
    waiting.start()
    service.start()
    waiting.join(20.0)
    assert len(got) == 10


def test_pending_reports_are_bounded(tmp_path: Path) -> None:
    settings = SessionSettings(max_pending_rows=10, timeout=0.2)
    session = open_session(f"unix:{tmp_path}/nobody", curriculum="maze", settings=settings)
    values = {"episode_return": 1.0, "length": 1, "progress": 0.0, "env_id": 0, "task": 1}
    try:
        for _ in range(20):
            session.report_episode(0, **values)
        with pytest.raises(BufferFullError, match="at most 20"):
            session.report_episode(0, **values)
    finally:
        with pytest.warns(RuntimeWarning, match="20 reports"):
            session.close(timeout=0.0)


def test_a_forked_child_opens_a_session_of_its_own(
    session: Session, learner: CurriculumClient, service: ServiceProcess
) -> None:
    assignment = session.next_task()
    over = threading.Event()

    def keep_busy() -> None:  # forks happen while gRPC's threads are at work
        while not over.wait(0.001):
            session.report_progress(assignment.id, assignment.encoded, 0.5, 0)

    busy = threading.Thread(target=keep_busy)
    busy.start()
    children = []
    for _ in range(5):
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                own = open_session(service.target, curriculum="maze", settings=QUICK)
                with pytest.raises(RuntimeError, match="belongs to process"):
                    session.next_task()
                for _ in range(10):
                    report(own, own.next_task())
                own.close()
                learner.get()
                code = 0 if own is not session else 2
            finally:
                os._exit(code)
        children.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0] * 5
    over.set()
    busy.join()
    report(session, assignment)
    session.flush()
    assert counted(learner) == 51
    assert session.statistics.sessions_lost == 0


ENDING = """
import os, sys, multiprocessing
from syllabus_client import open_session, SessionSettings
def work():
    session = open_session(sys.argv[1], curriculum="maze", settings=SessionSettings(exit_timeout=float(sys.argv[2])))
    for _ in range(10):
        session.report_episode(0, task=1, episode_return=1.0, length=1, progress=0.0, env_id=0)
if sys.argv[3] == "main":
    work()
elif sys.argv[3] == "raise":
    work()
    raise RuntimeError("the environment broke")
else:
    process = multiprocessing.get_context(sys.argv[3]).Process(target=work)
    process.start()
    process.join()
"""


def end_process(target: str, bound: float, how: str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    script = tmp_path / "ending.py"
    script.write_text(
        ENDING.replace("if sys.argv", "if __name__ == '__main__' and sys.argv", 1)
        .replace('elif sys.argv[3] == "raise"', "elif __name__ == '__main__' and sys.argv[3] == \"raise\"")
        .replace("else:", "elif __name__ == '__main__':")
    )
    command = [sys.executable, str(script), target, str(bound), how]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("how", ["main", "raise", "fork", "spawn"])
def test_a_process_that_ends_delivers_what_it_reported(
    how: str, learner: CurriculumClient, service: ServiceProcess, tmp_path: Path
) -> None:
    ended = end_process(service.target, 20.0, how, tmp_path)
    assert counted(learner) == 10, ended.stderr
    assert "not delivered" not in ended.stderr


def test_a_process_that_ends_without_its_service_says_what_is_lost(tmp_path: Path) -> None:
    started = time.monotonic()
    ended = end_process(f"unix:{tmp_path}/nobody", 0.2, "main", tmp_path)
    assert ended.returncode == 0
    assert "10 reports were not delivered" in ended.stderr
    assert time.monotonic() - started < 30.0  # not the 60 s after which the test gives up


def test_importing_and_opening_touch_no_signal_handler(
    learner: CurriculumClient, service: ServiceProcess, tmp_path: Path
) -> None:
    script = (
        "import signal; before = [signal.getsignal(s) for s in signal.valid_signals()]\n"
        "import sys, syllabus_client\n"
        "assert not {'ray', 'pettingzoo', 'syllabus_service'} & set(sys.modules)\n"
        f"session = syllabus_client.open_session({service.target!r}, curriculum='maze')\n"
        "session.next_task(); session.close()\n"
        "assert before == [signal.getsignal(s) for s in signal.valid_signals()]\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


def test_an_interrupted_wait_leaves_the_session_usable(
    session: Session, learner: CurriculumClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    wait: Callable = session._changed.wait

    def interrupted(timeout: float | None = None) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr(session._changed, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        session.next_tasks(5000)
    monkeypatch.setattr(session._changed, "wait", wait)
    report(session, session.next_task())
    session.flush()
    assert counted(learner) == 1
