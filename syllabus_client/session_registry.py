"""The open sessions of this process: shared, counted, ended when the process ends, and not inherited by its forks."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from multiprocessing import util
from typing import Generic, Protocol, TypeVar

from syllabus_client import forks


class Pausable(Protocol):
    """A session, as far as a registry knows it."""

    def pause(self) -> None:
        """Disconnect, and stay so."""

    def resume(self) -> None:
        """Connect again."""


T = TypeVar("T", bound=Pausable)


class SessionRegistry(Generic[T]):
    """Hands out one session per key, until each who asked has let go of it.

    Args:
        end_all: ends sessions that are open when the process ends. A process of ``multiprocessing`` skips ``atexit``,
            so this is a finalizer of ``multiprocessing.util``, which every kind of process runs.
    """

    def __init__(self, end_all: Callable[[list[T]], None]) -> None:
        self._end_all = end_all
        self._inherited: list[object] = []
        self._begin()
        forks.watch_forks(self)

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._sessions: dict[Hashable, tuple[T, int]] = {}
        self._has_finalizer = False

    def open(self, key: Hashable, make: Callable[[], T]) -> T:
        """The session of a key, made where there is none; each call is matched by one ``let_go``."""
        with self._lock:
            if not self._has_finalizer:
                self._has_finalizer = True
                util.Finalize(None, self._at_exit, exitpriority=100)
            session, count = self._sessions.get(key) or (make(), 0)
            self._sessions[key] = (session, count + 1)
            return session

    def let_go(self, session: T) -> bool:
        """Whether nobody else holds the session: then it is not handed out again, and the caller ends it."""
        with self._lock:
            for key, (each, count) in self._sessions.items():
                if each is session:
                    if count > 1:
                        self._sessions[key] = (each, count - 1)
                        return False
                    del self._sessions[key]
                    return True
            return False

    def _at_exit(self) -> None:
        with self._lock:
            sessions = [session for session, _ in self._sessions.values()]
            self._sessions.clear()
        self._end_all(sessions)

    def before_fork(self) -> None:
        """Disconnect all sessions; none is opened or closed until the fork is over."""
        self._lock.acquire()
        for session, _ in self._sessions.values():
            session.pause()

    def after_fork_in_parent(self) -> None:
        """Go on."""
        for session, _ in self._sessions.values():
            session.resume()
        self._lock.release()

    def after_fork_in_child(self) -> None:
        """Begin anew in a child. The parent's sessions are kept alive: their channels are its own."""
        self._inherited.append(self._sessions)
        self._begin()
