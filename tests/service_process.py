"""A real ``syllabus-service serve`` process: started, killed and started again on the same data."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc

from syllabus_client.wire import curriculum_pb2_grpc as pb_grpc

_START_SECONDS = 30.0
_COMMAND = [sys.executable, "-c", "from syllabus_service.cli import main; main(prog_name='syllabus-service')"]


class ServiceProcess:
    """One service, through however many processes.

    Args:
        directory: where its log goes.
        arguments: further arguments of ``serve``.
        data_dir: where it keeps its curricula, or None.
        listen: its address.
    """

    def __init__(self, directory: Path, *arguments: str, data_dir: Path | None, listen: str) -> None:
        self.log_path = directory / "service.log"
        self.target = listen
        self._arguments = ["serve", "--listen", listen, "--log-format", "json", *arguments]
        if data_dir is not None:
            self._arguments += ["--data-dir", str(data_dir)]
        self._process: subprocess.Popen[bytes] | None = None
        self._log_start = 0

    @property
    def pid(self) -> int:
        """The process that runs now."""
        return self._running().pid

    def start(self) -> None:
        """Start the process, and wait until it listens."""
        self._log_start = self.log_path.stat().st_size if self.log_path.exists() else 0
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen([*_COMMAND, *self._arguments], stdout=log, stderr=log)
        deadline = time.monotonic() + _START_SECONDS
        while not (listening := self.events("listening")):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the service did not start: {self.log_path.read_text()}")
            time.sleep(0.01)
        self.target = listening[0]["addresses"][0]

    def kill(self) -> None:
        """End the process as ``kill -9`` does."""
        self._running().kill()
        self._running().wait()
        self._process = None

    def wait(self, timeout: float) -> None:
        """Wait until the process has ended, by whoever's hand."""
        self._running().wait(timeout)
        self._process = None

    def restart(self) -> None:
        """``kill -9``, and start on the same data."""
        self.kill()
        self.start()

    def terminate(self, number: signal.Signals = signal.SIGTERM, timeout: float = 20.0) -> int:
        """Ask the process to stop, and wait for its exit code."""
        process = self._running()
        process.send_signal(number)
        code = process.wait(timeout)
        self._process = None
        return code

    def close(self) -> None:
        """End the process if it runs."""
        if self._process is not None:
            self.kill()

    def events(self, name: str) -> list[dict[str, Any]]:
        """The log lines with this event since the last start."""
        if not self.log_path.exists():
            return []
        with self.log_path.open("rb") as log:
            log.seek(self._log_start)
            lines = [line for line in log.read().splitlines() if line.startswith(b"{") and line.endswith(b"}")]
        return [event for line in lines if (event := json.loads(line))["event"] == name]

    @contextlib.contextmanager
    def stub(self) -> Iterator[pb_grpc.CurriculumServiceStub]:
        """A client on a connection of its own."""
        with grpc.insecure_channel(self.target) as channel:
            yield pb_grpc.CurriculumServiceStub(channel)

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError("the service does not run")
        return self._process
