"""Programs run as a user runs them, each in a process group of its own, and what they leave behind."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

ROOT = Path(__file__).parents[2]
_MARK = "SYLLABUS_TEST_MARK"


class Program:
    """A Python program and all processes that come of it, with a temporary directory and a mark of their own.

    Args:
        directory: empty; the output goes there.
        arguments: of ``python``.
        environment: variables to add.
    """

    def __init__(self, directory: Path, *arguments: str, environment: dict[str, str] | None = None) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.temporary = Path(tempfile.mkdtemp(prefix="p-"))  # short, as paths of sockets have to be
        self._mark = uuid.uuid4().hex
        self._output_path = directory / "output"
        with self._output_path.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, *arguments],
                cwd=ROOT,
                env={**os.environ, **(environment or {}), "TMPDIR": str(self.temporary), _MARK: self._mark},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for process in self.processes():
            process.kill()
        self.process.wait()
        shutil.rmtree(self.temporary)

    @property
    def output(self) -> str:
        """What it has written so far, standard error included."""
        return self._output_path.read_text(errors="replace")

    def processes(self) -> list[psutil.Process]:
        """Every process that carries this program's mark, whatever its parent and its group."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get(_MARK) == self._mark and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
                continue
        return found

    def wait_for(self, text: str, seconds: float) -> None:
        """Until ``text`` is in the output."""
        deadline = time.monotonic() + seconds
        while text not in self.output:
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"expected {text!r} in the output, got: {self.output}")
            time.sleep(0.02)

    def interrupt(self) -> None:
        """What Ctrl-C does: SIGINT to every process of the group."""
        os.killpg(self.process.pid, signal.SIGINT)

    def terminate(self) -> None:
        self.process.terminate()

    def wait(self, seconds: float) -> int:
        """Its exit code."""
        return self.process.wait(seconds)

    def left_behind(self, patience: float = 10.0) -> list[str]:
        """What is still there when the program has ended: processes, and files in the temporary directory."""
        deadline = time.monotonic() + patience
        while True:
            left = [f"{process.pid} {process.name()}" for process in self.processes()]
            left += [str(path) for path in self.temporary.iterdir()]
            if not left or time.monotonic() > deadline:
                return left
            time.sleep(0.05)
