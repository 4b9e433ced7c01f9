"""Room: bounded, in order, and never given to somebody who has gone."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from syllabus_service.room import Room


def _run(scenario: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(scenario())  # type: ignore[arg-type]


async def _turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


@pytest.mark.parametrize(("max_items", "max_bytes"), [(2, 1000), (1000, 20)])
def test_whoever_exceeds_a_bound_waits_until_there_is_room_and_is_let_in_in_order(
    max_items: int, max_bytes: int
) -> None:
    async def scenario() -> None:
        room, entered = Room(max_items, max_bytes), []

        async def enter(name: str) -> None:
            await room.enter(10)
            entered.append(name)

        tasks = [asyncio.create_task(enter(name)) for name in "abcd"]
        await _turns()
        assert entered == ["a", "b"]
        room.leave(1, 10)
        await _turns()
        assert entered == ["a", "b", "c"]
        room.leave(2, 20)
        await asyncio.gather(*tasks)
        assert entered == ["a", "b", "c", "d"]

    _run(scenario)


def test_an_item_larger_than_the_room_is_let_in_alone() -> None:
    async def scenario() -> None:
        room = Room(10, 100)
        await room.enter(500)
        waiting = asyncio.create_task(room.enter(1))
        await _turns()
        assert not waiting.done()
        room.leave(1, 500)
        await waiting

    _run(scenario)


def test_one_that_gives_up_waiting_leaves_its_turn_to_the_next() -> None:
    async def scenario() -> None:
        room = Room(1, 100)
        await room.enter(1)
        gone = asyncio.create_task(room.enter(1))
        next_one = asyncio.create_task(room.enter(1))
        await _turns()
        gone.cancel()
        room.leave(1, 1)
        await next_one
        room.leave(1, 1)
        await asyncio.wait_for(room.enter(100), 5)

    _run(scenario)


def test_room_given_to_one_that_gives_up_in_the_same_moment_is_not_lost() -> None:
    async def scenario() -> None:
        room = Room(1, 100)
        await room.enter(1)
        gone = asyncio.create_task(room.enter(1))
        await _turns()
        room.leave(1, 1)  # the turn is given ...
        gone.cancel()  # ... to one that is cancelled before it runs
        await asyncio.gather(gone, return_exceptions=True)
        await asyncio.wait_for(room.enter(1), 5)

    _run(scenario)
