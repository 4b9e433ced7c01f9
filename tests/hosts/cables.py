"""Cables: pairs of TAP devices between which frames are passed on, late or not at all, as a test decides.

This does what ``tc netem`` does, from a thread, since not every kernel has netem: below TCP, so that the hosts' own TCP
sends what was lost again, and a host behind an unplugged cable is not told.
"""

from __future__ import annotations

import fcntl
import heapq
import itertools
import os
import random
import selectors
import struct
import subprocess
import threading
import time
from dataclasses import dataclass

_TUNSETIFF = 0x400454CA
_IFF_TAP, _IFF_NO_PI = 0x0002, 0x1000
_FRAME_BYTES = 65536
_BURST = 64


def run(*command: str) -> None:
    """Run a command of the system's. Raises RuntimeError with what it said."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")


@dataclass
class Cable:
    """One cable; its faults hold in both directions, from the moment that they are set."""

    name: str
    """Of the device at the host's end; the switch's end has a ``-`` behind it."""
    delay: float = 0.0
    """Seconds that each frame takes, one way."""
    loss: float = 0.0
    """Share of the frames that are lost, in [0, 1]."""
    unplugged: bool = False
    """Whether nothing passes. Nobody is told."""
    passed: int = 0
    lost: int = 0
    """Frames lost by chance."""
    swallowed: int = 0
    """Frames lost because it was unplugged."""


class Cables:
    """All cables of a network, and the thread that passes frames on.

    Args:
        seed: of the losses.
    """

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)
        self._selector = selectors.DefaultSelector()
        self._late: list[tuple[float, int, int, bytes]] = []
        self._order = itertools.count()
        self._lock = threading.Lock()
        self._descriptors: dict[str, tuple[int, int]] = {}
        self._wake_read, self._wake_write = os.pipe()
        self._selector.register(self._wake_read, selectors.EVENT_READ)
        self._ending = False
        self._thread = threading.Thread(target=self._run, name="cables")
        self._thread.start()

    def lay(self, name: str) -> Cable:
        """A new cable, with devices ``name`` and ``name-`` in this process's network namespace."""
        cable = Cable(name)
        host, switch = _tap(name), _tap(f"{name}-")
        with self._lock:
            self._descriptors[name] = host, switch
            self._selector.register(host, selectors.EVENT_READ, (cable, switch))
            self._selector.register(switch, selectors.EVENT_READ, (cable, host))
        os.write(self._wake_write, b"x")
        return cable

    def cut(self, cable: Cable) -> None:
        """Take a cable away, with its devices."""
        with self._lock:
            for descriptor in self._descriptors.pop(cable.name, ()):
                self._selector.unregister(descriptor)
                os.close(descriptor)
            self._late.clear()  # some of them were its own; the hosts send the others again

    def close(self) -> None:
        """Take all of them away."""
        self._ending = True
        os.write(self._wake_write, b"x")
        self._thread.join()
        for descriptor in itertools.chain((self._wake_read, self._wake_write), *self._descriptors.values()):
            os.close(descriptor)
        self._selector.close()

    def _run(self) -> None:
        while not self._ending:
            with self._lock:
                due = self._late[0][0] - time.monotonic() if self._late else None
            events = self._selector.select(None if due is None else max(due, 0.0))
            with self._lock:
                for key, _ in events:
                    if key.fd == self._wake_read:
                        os.read(self._wake_read, _BURST)
                    elif key.fd in self._selector.get_map():  # not cut meanwhile
                        self._pass_on(key.fd, *key.data)
                now = time.monotonic()
                while self._late and self._late[0][0] <= now:
                    _, _, descriptor, frame = heapq.heappop(self._late)
                    _write(descriptor, frame)

    def _pass_on(self, source: int, cable: Cable, destination: int) -> None:
        for _ in range(_BURST):
            try:
                frame = os.read(source, _FRAME_BYTES)
            except OSError:  # nothing more, or the device is down or gone with its host
                return
            if cable.unplugged:
                cable.swallowed += 1
            elif cable.loss and self._rng.random() < cable.loss:
                cable.lost += 1
            else:
                cable.passed += 1
                if cable.delay:
                    heapq.heappush(self._late, (time.monotonic() + cable.delay, next(self._order), destination, frame))
                else:
                    _write(destination, frame)


def _write(descriptor: int, frame: bytes) -> None:
    try:
        os.write(descriptor, frame)
    except OSError:  # the device is down: a frame into a cable that leads nowhere
        return


def _tap(name: str) -> int:
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TAP | _IFF_NO_PI))
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
