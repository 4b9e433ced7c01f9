"""CPU time and memory of a process and all that descend from it, from /proc."""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections import defaultdict

_TICKS = os.sysconf("SC_CLK_TCK")
_PR_SET_CHILD_SUBREAPER = 36


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent ends, so that they stay in the tree (Linux)."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def tree(root: int) -> list[int]:
    """Process ids of ``root`` and its descendants, those that ended and were not waited for included."""
    children = defaultdict(list)
    for name in os.listdir("/proc"):
        if name.isdigit() and (fields := _stat(int(name))):
            children[int(fields[1])].append(int(name))
    found = [root]
    for pid in found:
        found += children[pid]
    return found


def cpu_seconds(root: int) -> float:
    """User and system time of the tree so far, with that of descendants that were waited for. To 10 ms a process."""
    times = (fields[11:15] for pid in tree(root) if (fields := _stat(pid)))
    return sum(int(each) for four in times for each in four) / _TICKS


def process_cpu_seconds(pid: int) -> float:
    """User and system time of one process, all its threads, so far. To 10 ms."""
    fields = _stat(pid)
    return sum(int(each) for each in fields[11:13]) / _TICKS if fields else 0.0


def rss_bytes(pid: int) -> int:
    """Resident memory of one process; 0 when it has ended."""
    return _status_bytes(pid, "VmRSS:")


def peak_rss_bytes(pid: int) -> int:
    """The most resident memory that one process has had; 0 when it has ended."""
    return _status_bytes(pid, "VmHWM:")


def _status_bytes(pid: int, name: str) -> int:
    with contextlib.suppress(OSError), open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as status:
        for line in status:
            if line.startswith(name):
                return int(line.split()[1]) * 1024
    return 0


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the state on (proc(5) number 3); empty when the process has ended."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stat:
            return stat.read().rpartition(")")[2].split()
    except OSError:
        return []
