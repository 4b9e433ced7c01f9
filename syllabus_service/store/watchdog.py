"""Watchdog: ends what takes too long, from one thread for all."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Watchdog:
    """Calls ``end`` of whatever is under way when its time is over. Entering and leaving cost microseconds."""

    def __init__(self, name: str) -> None:
        self._changed = threading.Condition()
        self._watched: dict[object, tuple[float, Callable[[], None]]] = {}
        self._asleep_until = math.inf
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @contextmanager
    def watch(self, seconds: float, end: Callable[[], None]) -> Iterator[None]:
        """While the block runs: call ``end`` once, in the watchdog's thread, when it has taken ``seconds``.

        ``end`` is not called once the block has been left.
        """
        key, deadline = object(), time.monotonic() + seconds
        with self._changed:
            self._watched[key] = deadline, end
            if deadline < self._asleep_until:
                self._changed.notify()
        try:
            yield
        finally:
            with self._changed:
                self._watched.pop(key, None)

    def close(self) -> None:
        """End the thread. What is still under way is ended."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        with self._changed:
            while not self._closed:
                now = time.monotonic()
                self._end(now)
                self._asleep_until = min((deadline for deadline, _ in self._watched.values()), default=math.inf)
                self._changed.wait(None if math.isinf(self._asleep_until) else self._asleep_until - now)
            self._end(math.inf)

    def _end(self, now: float) -> None:
        for key in [key for key, (deadline, _) in self._watched.items() if deadline <= now]:
            self._watched.pop(key)[1]()
