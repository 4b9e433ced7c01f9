"""The inbox of a curriculum's thread: woken once for many commands, and never left waiting for more."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence

from syllabus_service.commands import draw_command
from syllabus_service.engine import LocalEngine
from syllabus_service.inbox import Inbox
from syllabus_service.runner import CurriculumRunner, RunnerSettings
from syllabus_service.store import MemoryStore
from tests.service.serving import TIMEOUT, spec


class SizesStore(MemoryStore):
    """Notes how many records each append has."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    def append(self, name: str, first_position: int, records: Sequence[bytes]) -> None:
        super().append(name, first_position, records)
        self.sizes.append(len(records))


def _draw(runner: CurriculumRunner, number: int) -> asyncio.Task:
    command = draw_command(f"caller-{number}", 1, 1, LocalEngine().limits)
    return asyncio.create_task(runner.submit(command))


def test_what_was_put_is_taken_in_order_after_one_ring() -> None:
    inbox: Inbox[int] = Inbox()
    for number in range(3):
        inbox.put(number)
    inbox.ring()
    inbox.ring()
    inbox.wait(TIMEOUT)
    assert [inbox.take() for _ in range(4)] == [0, 1, 2, None]
    started = time.monotonic()
    inbox.wait(0.02)  # the second ring was for nothing new
    assert time.monotonic() - started >= 0.015


def test_nobody_sleeps_over_what_was_put_and_rung_for_whenever_it_came() -> None:
    inbox: Inbox[int] = Inbox()
    count, taken = 20_000, []

    def take() -> None:
        while len(taken) < count:
            inbox.wait(TIMEOUT)
            while (item := inbox.take()) is not None:
                taken.append(item)

    taker = threading.Thread(target=take, daemon=True)
    taker.start()
    for number in range(count):
        inbox.put(number)
        inbox.ring()
    taker.join(TIMEOUT)
    assert taken == list(range(count))


def test_commands_that_come_some_turns_of_the_loop_apart_are_one_commit() -> None:
    async def scenario() -> list[int]:
        store = SizesStore()
        async with LocalEngine(store, settings=RunnerSettings(tick_seconds=60.0)) as engine:
            runner = await engine.create("maze", spec())
            answers = []
            for number in range(6):
                answers.append(_draw(runner, number))
                await asyncio.sleep(0)
                await asyncio.sleep(0)
            await asyncio.gather(*answers)
        return store.sizes

    assert asyncio.run(scenario()) == [6]


def test_a_flow_of_commands_that_never_pauses_is_answered_all_the_same() -> None:
    async def scenario() -> int:
        async with LocalEngine(SizesStore()) as engine:
            runner = await engine.create("maze", spec())
            answers = [_draw(runner, 0)]
            while not answers[0].done():
                answers.append(_draw(runner, len(answers)))
                await asyncio.sleep(0)
            await asyncio.gather(*answers)
        return len(answers)

    assert asyncio.run(scenario()) < RunnerSettings().max_queued_commands
