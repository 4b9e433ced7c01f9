"""How learner and workers of this example pass policies and returns: files in a folder that all of them see.

It stands for whatever a training framework has for that purpose. The curriculum service has no part in it.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

POLL_SECONDS = 0.01


@dataclass(frozen=True)
class Generation:
    """Policies that are to be run."""

    run: str
    """Identity of the learner's run: what an earlier one left in the folder is not taken for this one's."""
    number: int
    """From 1; 0 when training is over."""
    policies: np.ndarray
    """float64 (n, parameters)."""


class Exchange:
    """Numbered generations of policies out, one file of returns per worker back. A file is complete or absent."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._run = secrets.token_hex(4)  # of the learner
        folder.mkdir(parents=True, exist_ok=True)

    def publish(self, number: int, policies: np.ndarray) -> None:
        """Hand out the policies (n, parameters) of a generation, numbered from 1. The learner calls it."""
        self._write("policies.npz", run=np.array(self._run), number=np.array(number), policies=policies)

    def finish(self) -> None:
        """Tell the workers that training is over. The learner calls it."""
        self.publish(0, np.zeros((0, 0)))

    def collect(self, number: int, workers: int, timeout: float) -> tuple[np.ndarray, np.ndarray, int]:
        """Wait for every worker's share of a generation. The learner calls it.

        Returns:
            int64 (n,) tasks and float64 (n,) returns, in the order of the policies, and the sum of steps.

        Raises TimeoutError, naming the workers that have not delivered.
        """
        files = [self._folder / _returns_name(self._run, number, worker) for worker in range(workers)]
        deadline = time.monotonic() + timeout
        while missing := [worker for worker, file in enumerate(files) if not file.exists()]:
            if time.monotonic() > deadline:
                raise TimeoutError(f"workers {missing} delivered nothing for generation {number} in {timeout:g} s")
            time.sleep(POLL_SECONDS)
        shares = []
        for file in files:
            with np.load(file) as share:
                shares.append((share["tasks"], share["returns"], int(share["steps"])))
            file.unlink()
        count = sum(len(tasks) for tasks, _, _ in shares)
        tasks, returns = np.zeros(count, dtype=np.int64), np.zeros(count)
        for worker, share in enumerate(shares):
            tasks[worker::workers], returns[worker::workers] = share[0], share[1]
        return tasks, returns, sum(steps for _, _, steps in shares)

    def generations(self, timeout: float) -> Iterator[Generation]:
        """Each generation, as it comes, until training is over. A worker calls it.

        Raises TimeoutError when nothing new came for ``timeout`` seconds.
        """
        last, deadline = self._published(), time.monotonic() + timeout
        if last is not None and last.number > 0:  # a worker that comes late, or comes back
            yield last
        while time.monotonic() < deadline:
            new = self._published()
            if new is None or (last is not None and (new.run, new.number) == (last.run, last.number)):
                time.sleep(POLL_SECONDS)
                continue
            if new.number == 0:
                return
            yield new
            last, deadline = new, time.monotonic() + timeout
        raise TimeoutError(f"the learner published nothing new for {timeout:g} s")

    def deliver(self, generation: Generation, worker: int, tasks: list[int], returns: list[float], steps: int) -> None:
        """Hand back a worker's share: that of policies ``worker``, ``worker + workers``, ... A worker calls it."""
        self._write(
            _returns_name(generation.run, generation.number, worker),
            tasks=np.array(tasks, dtype=np.int64),
            returns=np.array(returns, dtype=np.float64),
            steps=np.array(steps),
        )

    def _published(self) -> Generation | None:
        try:
            with np.load(self._folder / "policies.npz") as file:
                return Generation(str(file["run"]), int(file["number"]), file["policies"])
        except FileNotFoundError:
            return None

    def _write(self, name: str, **arrays: np.ndarray) -> None:
        temporary = self._folder / f".{name}.{os.getpid()}"
        with temporary.open("wb") as file:
            np.savez(file, **arrays)
        temporary.replace(self._folder / name)


def _returns_name(run: str, number: int, worker: int) -> str:
    return f"returns-{run}-{number}-{worker}.npz"
