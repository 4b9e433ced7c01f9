"""Inbox: what waits for a thread that is woken once for many items."""

from __future__ import annotations

import contextlib
import queue
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class Inbox(Generic[T]):
    """A queue of one taker, in which putting and waking are two things.

    To wake a thread costs more than most items: system calls, and the interpreter's lock that goes to and fro. So
    ``put`` wakes nobody, and ``ring`` does, once for all that was put before it. All methods but ``wait`` may be called
    from any thread. O(1).
    """

    def __init__(self) -> None:
        self._items: deque[T] = deque()
        self._bell: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._rung = False

    def __len__(self) -> int:
        return len(self._items)

    def put(self, item: T) -> None:
        """Put an item behind the others. It is taken at the next ``ring`` at the latest, or at any time before."""
        self._items.append(item)

    def ring(self) -> None:
        """Wake the taker for what is there."""
        if self._items and not self._rung:
            self._rung = True
            self._bell.put(None)

    def wait(self, timeout: float) -> None:
        """Wait until it rings, at most ``timeout`` seconds."""
        with contextlib.suppress(queue.Empty):
            self._bell.get(timeout=timeout)
            self._rung = False  # before anything is taken, so that what comes later rings again

    def take(self) -> T | None:
        """The oldest item, or None where there is none."""
        try:
            return self._items.popleft()
        except IndexError:
            return None
