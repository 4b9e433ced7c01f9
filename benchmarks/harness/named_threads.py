"""Python's names of threads for the operating system, so that a process's CPU time can be told thread by thread."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path

_LONGEST = 15  # bytes that Linux keeps


def name_threads() -> None:
    """Give every thread that starts from now on its Python name, as far as it fits, in /proc/PID/task/TID/comm."""
    run = threading.Thread.run

    def run_named(thread: threading.Thread) -> None:
        with contextlib.suppress(OSError):
            Path(f"/proc/self/task/{threading.get_native_id()}/comm").write_text(thread.name[:_LONGEST])
        run(thread)

    threading.Thread.run = run_named  # type: ignore[method-assign]
