"""Bounds on what is queued: whoever would exceed them waits for its turn."""

from __future__ import annotations

import asyncio
from collections import deque


class Room:
    """Room for a number of items and a number of bytes, given out in the order in which it was asked for.

    An item larger than the whole room is let in when nothing else is there. Used from one event loop. O(1).

    Args:
        max_items: most items inside.
        max_bytes: most bytes of items inside.
    """

    def __init__(self, max_items: int, max_bytes: int) -> None:
        self._max_items = max_items
        self._max_bytes = max_bytes
        self._items = 0
        self._bytes = 0
        self._waiting: deque[tuple[asyncio.Future[None], int]] = deque()

    def enter_now(self, size: int) -> bool:
        """Take the room of an item of ``size`` bytes, if there is some and nobody waits for it. Whether it did."""
        if self._waiting or not self._fits(size):
            return False
        self._take(size)
        return True

    async def enter(self, size: int) -> None:
        """Wait until there is room for an item of ``size`` bytes, and take it."""
        if self.enter_now(size):
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((turn, size))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # the room was given to one that no longer wants it
                self.leave(1, size)
            else:
                self._waiting.remove((turn, size))
                self._admit()
            raise

    def leave(self, items: int, size: int) -> None:
        """Give back the room of items with ``size`` bytes together."""
        self._items -= items
        self._bytes -= size
        self._admit()

    def _admit(self) -> None:
        while self._waiting and self._fits(self._waiting[0][1]):
            turn, size = self._waiting.popleft()
            if not turn.done():
                self._take(size)
                turn.set_result(None)

    def _fits(self, size: int) -> bool:
        return self._items == 0 or (self._items < self._max_items and self._bytes + size <= self._max_bytes)

    def _take(self, size: int) -> None:
        self._items += 1
        self._bytes += size
