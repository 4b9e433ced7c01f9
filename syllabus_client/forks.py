"""Forks: connections are put down before one and taken up after it, because gRPC's threads do not survive it.

gRPC runs its own fork handlers only while none of its threads is at work, and a child that is forked at another moment
can crash, whether it uses gRPC or not. So everything that is connected lets go first. Processes that are started by
other means (spawn, subprocess) are no forks in this sense and cost nothing.
"""

from __future__ import annotations

import os
import threading
import weakref
from typing import Protocol

import grpc


class Lineage:
    """Tells a process from its parent without a system call: a forked child is of another generation."""

    def __init__(self) -> None:
        self.generation = 0
        """How many forks lie between the interpreter's first process and this one."""


lineage = Lineage()


class Connected(Protocol):
    """What has threads of gRPC, or of its own, while it is connected."""

    def before_fork(self) -> None:
        """Disconnect, and connect no more until one of the others is called."""

    def after_fork_in_parent(self) -> None:
        """Go on."""

    def after_fork_in_child(self) -> None:
        """Begin anew: threads are gone, and locks may be held by nobody."""


_connected: weakref.WeakSet[Connected] = weakref.WeakSet()
_lock = threading.Lock()
_anchors: list[grpc.Channel] = []  # an idle channel, so that closing the others does not make gRPC shut down in a fork


def watch_forks(connected: Connected) -> None:
    """Tell ``connected`` of every fork of this process, as long as it lives."""
    with _lock:
        _connected.add(connected)


def _before() -> None:
    _lock.acquire()
    if _connected and not _anchors:
        _anchors.append(grpc.insecure_channel("unix:/nobody"))
    for each in _connected:
        each.before_fork()


def _after_in_parent() -> None:
    for each in _connected:
        each.after_fork_in_parent()
    _lock.release()


def _after_in_child() -> None:
    lineage.generation += 1
    for each in _connected:
        each.after_fork_in_child()
    _lock.release()


os.register_at_fork(before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child)
