"""What a process of the service asks of the C library: that memory of large arrays is given back when they go."""

from __future__ import annotations

import ctypes
import os

_M_MMAP_THRESHOLD = -3
_LARGE = 256 * 1024  # bytes
_CHOSEN_BY_OPERATOR = "MALLOC_MMAP_THRESHOLD_"


def give_large_arrays_back() -> None:
    """Have glibc map each array of 256 KiB or more by itself, so that its memory is the system's again once it is gone.

    By default glibc raises that bound, up to 32 MiB, whenever such an array goes; later ones lie in the heap, and what
    lies behind them keeps their memory in the process. A curriculum of a million tasks makes arrays of some megabytes
    now and then: for a new distribution, a snapshot, an update of all tasks. To map one costs microseconds.

    It holds for the whole process, so only a program calls it, never a library. Does nothing where the operator has
    set ``MALLOC_MMAP_THRESHOLD_``, or where the C library is another one.
    """
    if _CHOSEN_BY_OPERATOR in os.environ:
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return
    mallopt(_M_MMAP_THRESHOLD, _LARGE)
