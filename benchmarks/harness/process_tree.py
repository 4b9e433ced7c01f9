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
    return _descendants(root, _processes())


def cpu_seconds(root: int) -> float:
    """User and system time of the tree so far, with that of descendants that were waited for. To 10 ms a process."""
    return own_and_other_cpu_seconds(root)[0]


def own_and_other_cpu_seconds(root: int) -> tuple[float, dict[int, float]]:
    """The same, and by id the user and system time so far of each process beyond the tree, kernel threads included."""
    processes = _processes()
    own = [processes.pop(pid) for pid in _descendants(root, processes) if pid in processes]
    others = {pid: sum(int(each) for each in fields[11:13]) / _TICKS for pid, fields in processes.items()}
    return sum(int(each) for fields in own for each in fields[11:15]) / _TICKS, others


def process_cpu_seconds(pid: int) -> float:
    """User and system time of one process, all its threads, so far. To 10 ms."""
    fields = _stat(f"/proc/{pid}/stat")
    return sum(int(each) for each in fields[11:13]) / _TICKS if fields else 0.0


def thread_cpu_seconds(pid: int) -> dict[str, float]:
    """Time on a CPU of the threads of one process so far, to nanoseconds, added up by name (15 characters).

    The main thread is called ``main``; for the others' names see ``named_threads``.
    """
    seconds: dict[str, float] = defaultdict(float)
    for thread in os.listdir(f"/proc/{pid}/task"):
        with contextlib.suppress(OSError):
            directory = f"/proc/{pid}/task/{thread}"
            name = "main" if int(thread) == pid else _read(f"{directory}/comm").strip()
            seconds[name] += int(_read(f"{directory}/schedstat").split()[0]) / 1e9
    return dict(seconds)


def rss_bytes(pid: int) -> int:
    """Resident memory of one process; 0 when it has ended."""
    return _status_bytes(pid, "VmRSS:")


def peak_rss_bytes(pid: int) -> int:
    """The most resident memory that one process has had; 0 when it has ended."""
    return _status_bytes(pid, "VmHWM:")


def _status_bytes(pid: int, name: str) -> int:
    with contextlib.suppress(OSError):
        for line in _read(f"/proc/{pid}/status").splitlines():
            if line.startswith(name):
                return int(line.split()[1]) * 1024
    return 0


def _processes() -> dict[int, list[str]]:
    """The fields of all processes, by id."""
    found = {int(name): _stat(f"/proc/{name}/stat") for name in os.listdir("/proc") if name.isdigit()}
    return {pid: fields for pid, fields in found.items() if fields}


def _descendants(root: int, processes: dict[int, list[str]]) -> list[int]:
    children = defaultdict(list)
    for pid, fields in processes.items():
        children[int(fields[1])].append(pid)
    found = [root]
    for pid in found:
        found += children[pid]
    return found


def _stat(path: str) -> list[str]:
    """The fields of a stat file from the state on (proc(5) number 3); empty when the process has ended."""
    try:
        return _read(path).rpartition(")")[2].split()
    except OSError:
        return []


def _read(path: str) -> str:
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()
