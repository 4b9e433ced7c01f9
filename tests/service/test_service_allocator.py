"""Memory of arrays that came and went does not stay in the process."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

_PROGRAM = """
import sys
import numpy as np
import psutil
from syllabus_service.allocator import give_large_arrays_back

if sys.argv[1] == "given back":
    give_large_arrays_back()
np.ones(2 << 20)  # 16 MiB that go at once: glibc's own bound rises
before = psutil.Process().memory_info().rss
held = [(np.ones(1 << 17), bytes(4096)) for _ in range(100)]  # 1 MiB each, with something small behind it
held = [small for large, small in held]
print(psutil.Process().memory_info().rss - before)
"""


def _left(mode: str, **environment: str) -> int:
    """Bytes that 100 MiB of arrays have left in a process."""
    answer = subprocess.run(
        [sys.executable, "-c", _PROGRAM, mode], env={**os.environ, **environment}, capture_output=True, check=True
    )
    return int(answer.stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="it is glibc that keeps them")
def test_what_large_arrays_took_is_given_back_though_something_small_lies_behind_each() -> None:
    assert _left("given back") < 10 << 20
    assert _left("as glibc does") > 50 << 20


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="it is glibc that keeps them")
def test_an_operators_own_bound_stays() -> None:
    assert _left("given back", MALLOC_MMAP_THRESHOLD_=str(1 << 30)) > 50 << 20
