"""make_multiprocessing_curriculum and MultiProcessingSyncWrapper: handles, exits, logs."""

from __future__ import annotations

import logging
import multiprocessing
import os
import pickle
import signal
import time
from collections.abc import Iterator
from contextlib import closing
from multiprocessing.connection import Connection
from typing import Any

import pytest

from syllabus_client.multiprocessing import (
    EmbeddedCurriculum,
    EmbeddedQueue,
    MultiProcessingSyncWrapper,
    make_multiprocessing_curriculum,
)
from syllabus_client.task_spaces import DiscreteTaskSpace
from syllabus_service.curricula import Curriculum, create
from tests.embedded.processes import has_ended
from tests.wrappers.environments import LedgerEnv


@pytest.fixture
def served() -> Iterator[tuple[EmbeddedCurriculum, EmbeddedQueue]]:
    """Domain randomization over three tasks."""
    uniform = create("domain_randomization", DiscreteTaskSpace(3), seed=1)
    client, queue, _ = make_multiprocessing_curriculum(uniform)
    with closing(client):
        yield client, queue


def _play_without_closing(queue: EmbeddedQueue, started: Connection | None = None) -> None:
    env = MultiProcessingSyncWrapper(LedgerEnv(), queue, queue)
    try:
        for _ in range(20):
            env.reset()
            over = False
            while not over:
                over = env.step(0)[2]
        if started is not None:
            started.send(True)
            time.sleep(600)
    except KeyboardInterrupt:
        pass


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_worker_that_ends_without_closing_its_environment_delivers_what_it_reported(
    served: tuple[EmbeddedCurriculum, EmbeddedQueue], method: str
) -> None:
    client, queue = served
    worker: Any = multiprocessing.get_context(method).Process(target=_play_without_closing, args=(queue,))
    worker.start()
    worker.join(60)
    assert worker.exitcode == 0
    worker.close()
    summary = client.summary()
    assert summary.num_episodes == 20
    assert summary.num_open_assignments == 0


def test_a_worker_interrupted_by_ctrl_c_delivers_what_it_reported(
    served: tuple[EmbeddedCurriculum, EmbeddedQueue],
) -> None:
    client, queue = served
    receiving, sending = multiprocessing.Pipe(duplex=False)
    worker = multiprocessing.Process(target=_play_without_closing, args=(queue, sending))
    worker.start()
    assert receiving.recv()
    os.kill(worker.pid, signal.SIGINT)  # type: ignore[arg-type]
    worker.join(60)
    assert worker.exitcode == 0
    worker.close()
    assert client.summary().num_episodes == 20


def test_queues_are_small_and_their_copies_are_equal(served: tuple[EmbeddedCurriculum, EmbeddedQueue]) -> None:
    _, queue = served
    pickled = pickle.dumps(queue)
    assert len(pickled) < 500
    assert pickle.loads(pickled) == queue


def test_queues_of_two_services_are_refused() -> None:
    with pytest.raises(ValueError, match="update_queue"):
        MultiProcessingSyncWrapper(LedgerEnv(), EmbeddedQueue("unix:/one"), EmbeddedQueue("unix:/other"))


def test_closing_a_copy_of_the_handle_ends_nothing_and_closing_the_handle_ends_the_service(
    served: tuple[EmbeddedCurriculum, EmbeddedQueue],
) -> None:
    client, _ = served
    with closing(pickle.loads(pickle.dumps(client))) as copy:
        assert copy.distribution().tolist() == client.distribution().tolist()
    assert client.summary().num_episodes == 0
    client.close()
    client.close()
    assert has_ended(client.service_pid)


class Careless(Curriculum):
    """Raises while it draws, once it was told of an episode."""

    def _draw(self, k: int) -> Any:
        if self.num_episodes:
            raise RuntimeError("nothing left to draw from")
        return [0] * k


def test_what_a_curriculum_raises_while_it_draws_reaches_the_worker_the_learner_and_the_log(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture
) -> None:
    from syllabus_client.settings import SessionSettings

    client, queue, _ = make_multiprocessing_curriculum(Careless(DiscreteTaskSpace(3), seed=1))
    settings = SessionSettings(prefetch=0, timeout=1.0)
    with closing(client), closing(MultiProcessingSyncWrapper(LedgerEnv(), queue, queue, settings=settings)) as env:
        env.reset()
        env.step(0)
        with caplog.at_level(logging.WARNING), pytest.raises(TimeoutError):
            env.reset()
        assert "nothing left to draw from" in client.summary().last_curriculum_error
    assert "nothing left to draw from" in caplog.text
    assert "nothing left to draw from" in capfd.readouterr().err
