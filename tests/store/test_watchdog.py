"""The watchdog ends what takes too long, and nothing else."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from syllabus_service.store.watchdog import Watchdog

_SECONDS = 30.0


@pytest.fixture
def watchdog() -> Iterator[Watchdog]:
    running = Watchdog("watchdog-of-a-test")
    yield running
    running.close()


def test_what_takes_too_long_is_ended(watchdog: Watchdog) -> None:
    ended = threading.Event()
    with watchdog.watch(0.01, ended.set):
        assert ended.wait(_SECONDS)


def test_a_shorter_time_is_not_kept_waiting_by_a_longer_one(watchdog: Watchdog) -> None:
    long, short = threading.Event(), threading.Event()
    with watchdog.watch(3600.0, long.set):
        with watchdog.watch(0.01, short.set):
            assert short.wait(_SECONDS)
        assert not long.is_set()


def test_what_ended_by_itself_is_left_alone(watchdog: Watchdog) -> None:
    early, late = threading.Event(), threading.Event()
    with watchdog.watch(0.05, early.set):
        pass
    with watchdog.watch(0.1, late.set):  # due after the first one would have been
        assert late.wait(_SECONDS)
    assert not early.is_set()


def test_closing_ends_what_is_under_way_and_the_thread() -> None:
    watchdog, ended = Watchdog("closed"), threading.Event()
    with watchdog.watch(3600.0, ended.set):
        watchdog.close()
        assert ended.is_set()
    assert "closed" not in {thread.name for thread in threading.enumerate()}
