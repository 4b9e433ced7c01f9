"""Running scripts as processes of their own, and waiting for processes that are not our children."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[2]

SERVE = """
import os, signal, sys, threading, time
from syllabus_client.task_spaces import DiscreteTaskSpace
from syllabus_service.curricula import Curriculum
from syllabus_service.embedded_process import EmbeddedProcess

class Mine(Curriculum):
    def _draw(self, k):
        return self.rng.integers(0, 4, size=k)

def serve():
    process = EmbeddedProcess(Mine(DiscreteTaskSpace(4), seed=1), name="curriculum")
    print(process.pid, process.address, flush=True)
    return process
"""


def start_script(source: str, **kwargs: object) -> subprocess.Popen:
    """Start a Python program of this text, reading its standard output as text."""
    return subprocess.Popen(
        [sys.executable, "-c", source],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        **kwargs,  # type: ignore[call-overload]
    )


def has_ended(pid: int, timeout: float = 20.0) -> bool:
    """Whether a process ends within ``timeout`` seconds."""
    try:
        psutil.Process(pid).wait(timeout)
    except psutil.NoSuchProcess:
        return True
    except psutil.TimeoutExpired:
        return False
    return True


def directory_of(address: str) -> Path:
    """The directory of a Unix socket."""
    return Path(address.removeprefix("unix:")).parent
