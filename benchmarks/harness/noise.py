"""How quiet the machine was during a run: foreign CPU and steal from /proc/stat, and the rule for accepting the run."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import Self

from benchmarks.harness.process_tree import cpu_seconds

_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Noise:
    """What a run had of the machine."""

    seconds: float
    """Wall-clock time."""
    cpu_seconds: float
    """CPU time of the run's own processes."""
    foreign: float
    """CPU time of all other processes, as a share of the machine: of all cores for that time."""
    steal: float
    """CPU time that the hypervisor gave to other machines, as a share of this one."""


@dataclass(frozen=True)
class Rule:
    """When a run counts. It is fixed before anything is measured, and printed above the figures."""

    foreign: float = 0.05
    """Other processes had less than this share of the machine."""
    steal: float = 0.02
    """The hypervisor took less than this share."""
    accepted: int = 3
    """Each arm is run until so many of its runs count,"""
    max_rounds: int = 8
    """but no more often than this. Then all its runs are told, and marked as taken on a noisy machine."""

    def accepts(self, noise: Noise) -> bool:
        return noise.foreign < self.foreign and noise.steal < self.steal

    def __str__(self) -> str:
        return (
            f"a run counts when other processes had less than {self.foreign:.0%} of the machine and its hypervisor "
            f"took less than {self.steal:.0%}; all arms in turn, until each has {self.accepted} runs that count, "
            f"at most {self.max_rounds} times"
        )


class Window:
    """Measures the machine while its block runs: ``with Window() as window: ...``, then ``window.noise``.

    Args:
        root: whose process tree is the run's own; None: this process's.
    """

    noise: Noise

    def __init__(self, root: int | None = None) -> None:
        self._root = root or os.getpid()

    def __enter__(self) -> Self:
        self._start = self._now()
        return self

    def __exit__(self, *exc_info: object) -> None:
        seconds, busy, steal, own = (after - before for after, before in zip(self._now(), self._start, strict=True))
        capacity = seconds * (os.cpu_count() or 1)
        self.noise = Noise(seconds, own, max(0.0, busy - own) / capacity, steal / capacity)

    def _now(self) -> tuple[float, float, float, float]:
        """Wall clock, busy and stolen time of all cores, own time; in seconds."""
        with open("/proc/stat", encoding="ascii") as stat:
            user, nice, system, _idle, _iowait, irq, softirq, steal = (
                int(each) for each in stat.readline().split()[1:9]
            )
        busy = (user + nice + system + irq + softirq) / _TICKS
        return time.monotonic(), busy, steal / _TICKS, cpu_seconds(self._root)
