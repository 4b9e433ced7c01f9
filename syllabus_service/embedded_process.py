"""Starts a service for one curriculum object in a process of its own, and ends it: the parent's side."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from multiprocessing import util
from typing import Any

import cloudpickle

from syllabus_service.curricula import Curriculum

# The path comes first, so that the child imports what the parent would, and nothing else (-P). An import that fails
# is told to the parent like any other failure.
_BOOTSTRAP = """
import sys, json
header = json.loads(sys.stdin.buffer.readline())
sys.path[:] = header["sys_path"]
try:
    from syllabus_service.embedded import main
except BaseException:
    import os, traceback
    os.write(header["ready_fd"], json.dumps({"error": traceback.format_exc()}).encode() + b"\\n")
    sys.exit(1)
main(header)
"""
_MAX_SOCKET_PATH = 100  # bytes; the address of a Unix socket holds 107
_STOP_SECONDS = 5.0


class EmbeddedServiceError(RuntimeError):
    """The embedded service did not start. The text holds its traceback."""


class EmbeddedProcess:
    """A process that serves one curriculum on a Unix socket which only this user can reach.

    It is started with ``exec``, not forked: it works from any thread, beside any start method, and needs no guard in
    the main module. The curriculum travels by cloudpickle, so classes of the main module do, too. It ends when it is
    stopped and when this process ends, however that comes, and after the workers of ``multiprocessing`` that this
    process joins at its exit. A Ctrl-C in the terminal does not reach it, so that workers can still report. What it
    logs goes to this process's standard error.

    Args:
        curriculum: the curriculum; this process keeps its own copy, which learns nothing.
        name: the name that it is served under.
        lease: seconds that a worker may stay silent before its assignments are abandoned, more than 0.
        timeout: seconds that the start may take.

    Attributes:
        address: the target to connect to, ``unix:PATH``.
        pid: of the service.

    Raises:
        EmbeddedServiceError: the service did not start; at once, with its traceback.
        TimeoutError: it took longer than ``timeout``.
    """

    def __init__(
        self,
        curriculum: Curriculum,
        *,
        name: str,
        lease: float = 120.0,
        timeout: float = 60.0,
    ) -> None:
        if lease <= 0:
            raise ValueError(f"lease: expected more than 0 seconds, got {lease}")
        payload = cloudpickle.dumps(curriculum)
        directory = _private_directory()
        self.address = f"unix:{directory}/service.sock"
        header = {
            "sys_path": sys.path,
            "parent_pid": os.getpid(),
            "directory": directory,
            "address": self.address,
            "name": name,
            "lease": float(lease),
            "size": len(payload),
        }
        try:
            self._process = _start(header, payload, timeout)
        except BaseException:
            shutil.rmtree(directory, ignore_errors=True)
            raise
        self.pid = self._process.pid
        # With a negative priority multiprocessing calls it at exit, after it has joined this process's workers; in a
        # forked child it is void. Not bound to this object: the queues may outlive it.
        self._finalizer = util.Finalize(None, _stop, args=(self._process, directory), exitpriority=-100)

    @property
    def is_running(self) -> bool:
        """Whether the service is there, as far as the process that started it can tell."""
        return self._process.poll() is None

    def stop(self) -> None:
        """End the service, and remove its socket. Does nothing a second time, or in a forked child."""
        self._finalizer()


def _private_directory() -> str:
    directory = tempfile.mkdtemp(prefix="syllabus-")  # mode 0700
    if len(os.fsencode(f"{directory}/service.sock")) <= _MAX_SOCKET_PATH:
        return directory
    os.rmdir(directory)
    return tempfile.mkdtemp(prefix="syllabus-", dir="/tmp")


def _start(header: dict[str, Any], payload: bytes, timeout: float) -> subprocess.Popen:
    deadline = time.monotonic() + timeout
    ready, ready_child = os.pipe()
    try:
        with contextlib.ExitStack() as on_failure:
            try:
                process = subprocess.Popen(
                    [sys.executable, "-P", "-c", _BOOTSTRAP, "syllabus-embedded-service"],
                    stdin=subprocess.PIPE,
                    pass_fds=[ready_child],
                    start_new_session=True,
                )
            finally:
                os.close(ready_child)
            on_failure.callback(_kill, process)
            line = json.dumps({**header, "ready_fd": ready_child}).encode() + b"\n"
            with contextlib.suppress(BrokenPipeError):  # it died; its last words, or their absence, say more
                process.stdin.write(line + payload)  # type: ignore[union-attr]
                process.stdin.close()  # type: ignore[union-attr]
            answer = json.loads(_read_line(ready, process, deadline))
            if "error" in answer:
                raise EmbeddedServiceError(f"the embedded curriculum service did not start:\n{answer['error']}")
            on_failure.pop_all()
            return process
    finally:
        os.close(ready)


def _read_line(fd: int, process: subprocess.Popen, deadline: float) -> bytes:
    """One line of the child's. Never waits for an end of file: a forked child may hold the other end open."""
    line = b""
    while not line.endswith(b"\n"):
        is_over = process.poll() is not None
        if select.select([fd], [], [], 0 if is_over else 0.05)[0] and (more := os.read(fd, 65536)):
            line += more
        elif is_over:
            raise EmbeddedServiceError(
                f"the embedded curriculum service ended with exit code {process.returncode} before it was ready; "
                f"standard error may say why"
            )
        elif time.monotonic() > deadline:
            raise TimeoutError("the embedded curriculum service was not ready in time")
    return line


def _kill(process: subprocess.Popen) -> None:
    if process.stdin is not None:
        with contextlib.suppress(OSError):
            process.stdin.close()
    process.kill()
    process.wait()


def _stop(process: subprocess.Popen, directory: str) -> None:
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    shutil.rmtree(directory, ignore_errors=True)  # gone already, unless it was killed
