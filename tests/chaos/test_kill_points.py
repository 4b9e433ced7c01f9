"""The process is killed at every boundary of its writes; what it acknowledged is there, and it goes on as if not."""

from __future__ import annotations

import itertools
import json
import multiprocessing
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.kill_points import COMMANDS, serve

_SECONDS = 60.0

# Each process is forked from one that has imported what it needs (and what runs this one), and started nothing.
_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(["pytest", "tests.chaos.kill_points"])

# At least these must have been among the boundaries: before, in the middle of and after each kind of write.
_EXPECTED = {
    *(f"{kind}: {place}" for kind in ("create", "append", "snapshot", "trim") for place in ("before", "after")),
    *(f"{kind}: {statement}" for kind in ("append", "snapshot", "trim") for statement in ("BEGIN IMMEDIATE", "COMMIT")),
    "append: UPDATE curriculum",
    "append: INSERT INTO",
    "snapshot: INSERT INTO",
    "snapshot: UPDATE snapshot",
    "trim: DELETE FROM",
}


def _run(data_dir: Path, report: Path, kill_at: int | None, first: int) -> tuple[int | None, list[dict[str, Any]]]:
    """Run a process to its end: its exit code, and what it reported."""
    process = _PROCESSES.Process(target=serve, args=(data_dir, report, kill_at, first))
    process.start()
    process.join(_SECONDS)
    code = process.exitcode
    if code is None:
        process.kill()
        process.join()
    process.close()
    lines = report.read_text().splitlines(keepends=True) if report.exists() else []
    return code, [json.loads(line) for line in lines if line.endswith("\n")]


@pytest.mark.timeout(600)
def test_killed_at_every_boundary_of_every_write_it_recovers_all_it_acknowledged(tmp_path: Path) -> None:
    code, undisturbed = _run(tmp_path / "undisturbed", tmp_path / "report", None, first=1)
    assert code == 0
    answers, state = undisturbed[:-1], undisturbed[-1]
    assert len(answers) == COMMANDS
    boundaries: set[str] = set()
    for kill_at in itertools.count(1):
        directory = tmp_path / str(kill_at)
        directory.mkdir()
        code, lines = _run(directory / "data", directory / "report", kill_at, first=1)
        if code == 0:
            break
        assert code == -signal.SIGKILL
        boundaries.add(lines[-1]["killed"])
        acknowledged = [line for line in lines if "answer" in line]
        assert acknowledged == answers[: len(acknowledged)]

        # Its client sends again, from the last answer that it has on; then the next commands.
        again = max(len(acknowledged), 1)
        code, lines = _run(directory / "data", directory / "again", None, first=again)
        assert code == 0
        assert lines == [*answers[again - 1 :], state], f"killed at boundary {kill_at}, {boundaries}"
    assert boundaries >= _EXPECTED
