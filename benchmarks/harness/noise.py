"""How quiet the machine was during a run: foreign CPU and steal, and the rule for accepting the run."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import Self

from benchmarks.harness.process_tree import own_and_other_cpu_seconds

_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Noise:
    """What a run had of the machine. Shares are of all cores for that time."""

    seconds: float
    """Wall-clock time."""
    cpu_seconds: float
    """CPU time of the run's own processes."""
    others: float
    """CPU time of all other processes that are to be seen in /proc at the end, as a share of the machine."""
    unseen: float
    """Time that the machine was busy for neither, as a share: processes that have ended, other containers, interrupts.
    Below 0 where /proc/stat, which counts ticks, has counted too few of them."""
    steal: float
    """CPU time that the hypervisor gave to other machines, as a share of this one."""

    @property
    def foreign(self) -> float:
        """CPU time that was not the run's own, as a share: what is unseen counts, what was counted too little not."""
        return self.others + max(0.0, self.unseen)


@dataclass(frozen=True)
class Rule:
    """When a run counts. It is fixed before anything is measured, and printed above the figures."""

    foreign: float = 0.05
    """Others had less than this share of the machine."""
    steal: float = 0.02
    """The hypervisor took less than this share."""
    accepted: int = 3
    """Arms are run until so many runs of each count, and so many pairs of neighbours where they are compared,"""
    max_rounds: int = 8
    """but no more often than this. Then all runs are told, and marked as taken on a noisy machine."""

    def accepts(self, noise: Noise) -> bool:
        return noise.foreign < self.foreign and noise.steal < self.steal

    def __str__(self) -> str:
        return (
            f"a run counts when other processes had less than {self.foreign:.0%} of the machine and its hypervisor "
            f"took less than {self.steal:.0%}; all arms in turn, until each has {self.accepted} runs that count and "
            f"{self.accepted} of them beside one of its baseline, at most {self.max_rounds} times"
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
        self._before = self._cpu()
        self._start = time.monotonic()
        return self

    def __exit__(self, *exc_info: object) -> None:
        seconds = time.monotonic() - self._start
        after = self._cpu()
        own, busy, steal = (after[number] - self._before[number] for number in range(3))
        others = sum(max(0.0, now - self._before[3].get(pid, 0.0)) for pid, now in after[3].items())
        capacity = seconds * (os.cpu_count() or 1)
        self.noise = Noise(seconds, own, others / capacity, (busy - own - others) / capacity, steal / capacity)

    def _cpu(self) -> tuple[float, float, float, dict[int, float]]:
        """Seconds so far: of the run's own processes, of all cores when busy, stolen ones, of each other process."""
        with open("/proc/stat", encoding="ascii") as stat:
            user, nice, system, _idle, _iowait, irq, softirq, steal = (
                int(each) for each in stat.readline().split()[1:9]
            )
        own, others = own_and_other_cpu_seconds(self._root)
        return own, (user + nice + system + irq + softirq) / _TICKS, steal / _TICKS, others
