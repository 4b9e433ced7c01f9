"""What breaks in Syllabus 0.7 and works here: one test for each line on synchronisation, by its number.

Line 11, on Ray, is in ``tests/ray/test_known_failures.py``.
"""

from __future__ import annotations

import multiprocessing
import signal
import threading
import time
from collections.abc import Callable
from contextlib import closing
from multiprocessing.connection import Connection
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from syllabus_client.multiprocessing import (
    EmbeddedCurriculum,
    EmbeddedQueue,
    MultiProcessingSyncWrapper,
    make_multiprocessing_curriculum,
)
from syllabus_client.settings import SessionSettings
from syllabus_client.stream import open_session
from syllabus_client.task_spaces import DiscreteTaskSpace
from syllabus_service.curricula import Curriculum, create
from tests.embedded.workers import run_episodes
from tests.wrappers.environments import LedgerEnv
from tests.wrappers.recorder import Recorder

FRESH = SessionSettings(prefetch=0)  # every task that is drawn is used


def serve(curriculum: Curriculum, **kwargs: Any) -> tuple[EmbeddedCurriculum, EmbeddedQueue]:
    """The learner's handle and the queue of an embedded service."""
    client, queue, _ = make_multiprocessing_curriculum(curriculum, **kwargs)
    return client, queue


def wrapped(queue: EmbeddedQueue, settings: SessionSettings = FRESH, **kwargs: Any) -> MultiProcessingSyncWrapper:
    """A quick environment on a queue."""
    return MultiProcessingSyncWrapper(LedgerEnv(), queue, queue, settings=settings, **kwargs)


def columns(client: EmbeddedCurriculum) -> dict[str, Any]:
    """What a served Recorder was told."""
    return {name: column.tolist() for name, column in client.custom_update(tell=True).items()}


def play(env: gym.Env) -> Any:
    """Run one episode to its end; the task."""
    task = env.reset()[1]["task"]
    over = False
    while not over:
        _, _, terminated, truncated, _ = env.step(0)
        over = terminated or truncated
    return task


def eventually(holds: Callable[[], bool], timeout: float = 30.0) -> bool:
    """Whether something comes true before ``timeout`` seconds have passed."""
    deadline = time.monotonic() + timeout
    while not (it_does := holds()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return it_does


class Fussy(Recorder):
    """Raises whenever task 1 is reported."""

    def update_on_episodes(self, batch: Any) -> None:
        if (batch.tasks == 1).any():
            raise RuntimeError("task 1 upsets me")
        super().update_on_episodes(batch)


def test_01_a_curriculum_that_raises_refuses_that_update_and_everybody_is_served(capfd: pytest.CaptureFixture) -> None:
    client, queue = serve(Fussy(DiscreteTaskSpace(4), seed=1))
    with closing(client), closing(wrapped(queue)) as env:
        for _ in range(12):
            play(env)
        env.reset()  # is served after the last report was taken
        summary = client.summary()
        assert summary.num_curriculum_errors == 3
        assert "task 1 upsets me" in summary.last_curriculum_error  # the learner sees it,
        assert columns(client)["task"] == [0, 2, 3] * 3
    assert "task 1 upsets me" in capfd.readouterr().err  # and so does the log


def _wait_for_tasks_for_ever(queue: EmbeddedQueue, started: Connection) -> None:
    env = wrapped(queue, SessionSettings(prefetch=0, timeout=600.0))
    while True:
        env.reset()
        started.send_bytes(b".")
        env.step(0)


def _report(queue: EmbeddedQueue, results: Connection) -> None:
    results.send(len(run_episodes(lambda env: MultiProcessingSyncWrapper(env, queue, queue), "terminated", 60)))


def test_02_a_worker_killed_at_any_moment_freezes_nobody_and_its_lease_runs_out() -> None:
    client, queue = serve(Recorder(DiscreteTaskSpace(1000), seed=1), lease=1.0)
    with closing(client):
        receiving, sending = multiprocessing.Pipe(duplex=False)
        steady = multiprocessing.Process(target=_report, args=(queue, sending))
        steady.start()
        for moment in range(1, 9):  # after so many resets: while it waits for a task, mostly, and at times in a step
            started, start = multiprocessing.Pipe(duplex=False)
            victim = multiprocessing.Process(target=_wait_for_tasks_for_ever, args=(queue, start))
            victim.start()
            start.close()
            for _ in range(moment):
                started.recv_bytes()
            victim.kill()
            victim.join()
            victim.close()
        assert receiving.poll(60)
        assert receiving.recv() == 60
        steady.join()
        steady.close()
        with closing(wrapped(queue)) as env:
            env.reset()
        assert eventually(lambda: client.summary().num_open_assignments == 0)
        summary = client.summary()
        assert summary.num_assignments == summary.num_episodes + summary.num_abandoned


def _run_6000(queue: EmbeddedQueue) -> None:
    run_episodes(lambda env: MultiProcessingSyncWrapper(env, queue, queue), "terminated", 6000)


def test_03_6000_episodes_without_log_metrics_and_the_worker_exits() -> None:
    client, queue = serve(create("domain_randomization", DiscreteTaskSpace(10), seed=1))
    with closing(client):
        worker = multiprocessing.Process(target=_run_6000, args=(queue,))
        worker.start()
        worker.join(90)
        assert worker.exitcode == 0
        worker.close()
        assert client.summary().num_episodes == 6000


def test_04_it_is_made_outside_the_main_thread_and_leaves_signal_handlers_alone() -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    ran: list[int] = []

    def run() -> None:
        client, queue = serve(create("domain_randomization", DiscreteTaskSpace(4), seed=1))
        with closing(client):
            ran.append(len(run_episodes(lambda env: MultiProcessingSyncWrapper(env, queue, queue), "terminated", 5)))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert ran == [5]
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_05_step_updates_travel_in_batches_of_one_and_through_a_short_queue() -> None:
    client, queue = serve(Recorder(DiscreteTaskSpace(4), steps=True, seed=1))
    short = SessionSettings(prefetch=0, max_rows=1, max_unacknowledged=1, max_pending_rows=50)
    with closing(client):
        with closing(wrapped(queue, short)) as env:
            for _ in range(20):
                play(env)
        seen = columns(client)
    assert len(seen["task"]) == 20
    assert len(seen["step_reward"]) == sum(seen["length"])


class Counting(Curriculum):
    """Its task is the number of episodes that it was told so far."""

    def _draw(self, k: int) -> np.ndarray:
        return np.full(k, self.num_episodes)


def test_06_a_task_is_drawn_after_the_result_that_came_before_it_was_applied() -> None:
    client, queue = serve(Counting(DiscreteTaskSpace(1000), seed=1))
    with closing(client), closing(wrapped(queue)) as env:
        tasks = [play(env) for _ in range(20)]
    assert tasks == list(range(20))


def test_07_a_success_that_ends_the_episode_asks_for_one_task() -> None:
    client, queue = serve(Recorder(DiscreteTaskSpace(10), seed=1))
    with closing(client):
        run_episodes(
            lambda env: MultiProcessingSyncWrapper(env, queue, queue, settings=FRESH, change_task_on_completion=True),
            "terminated",
            200,
        )
        seen = columns(client)
        assert seen["num_drawn"] == 200
        assert seen["progress"] == [1.0] * 200
        assert client.summary().num_abandoned == 0


@pytest.mark.parametrize("num_tasks", [10, 100_000])
def test_08_a_reset_finds_its_task_ready_however_many_tasks_there_are(num_tasks: int) -> None:
    client, queue = serve(create("domain_randomization", DiscreteTaskSpace(num_tasks), seed=1))
    settings = SessionSettings()
    session = open_session(queue.address, curriculum=queue.curriculum, settings=settings)

    def next_task_is_here() -> bool:
        session.flush()  # then what is open has not been used
        drawn = client.summary().num_open_assignments >= 1
        statistics = session.statistics
        return drawn and statistics.batches_answered == statistics.batches_sent

    with closing(client), closing(session), closing(wrapped(queue, settings)) as env:
        for _ in range(20):
            play(env)
            assert eventually(next_task_is_here)  # asked for when the one before was taken, and not by a reset
        assert session.statistics.tasks_used == 20
        assert session.statistics.prefetch_misses <= 1  # the first


def _run_three(queue: EmbeddedQueue, env_id: int) -> None:
    run_episodes(lambda env: MultiProcessingSyncWrapper(env, queue, queue, env_id=env_id), "terminated", 3)


def test_09_environments_have_ids_of_their_own_and_a_replaced_worker_keeps_its_identity() -> None:
    client, queue = serve(Recorder(DiscreteTaskSpace(100), seed=1))
    with closing(client):
        with closing(wrapped(queue)) as one, closing(wrapped(queue)) as other:
            assert one.env_id != other.env_id
            assert one.reset()[1]["task"] != other.reset()[1]["task"]
        for _ in range(2):
            worker = multiprocessing.Process(target=_run_three, args=(queue, 7))
            worker.start()
            worker.join(60)
            assert worker.exitcode == 0
            worker.close()
        assert columns(client)["env_id"] == [7] * 6


def test_10_a_handle_has_no_method_that_it_does_not_have() -> None:
    client, queue = serve(create("domain_randomization", DiscreteTaskSpace(4), seed=1))
    with closing(client), closing(wrapped(queue)) as env:
        with pytest.raises(AttributeError, match="no_such_method"):
            client.no_such_method()  # type: ignore[attr-defined]
        with pytest.raises(AttributeError, match="no_such_method"):
            env.no_such_method()  # type: ignore[attr-defined]
