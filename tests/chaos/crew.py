"""The worker processes of a chaos run: started, killed, replaced, ended."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_ROOT = Path(__file__).parents[2]
_END_SECONDS = 200.0


@dataclass
class _Worker:
    curriculum: str
    process: subprocess.Popen[bytes]
    ledger: Path
    log: Path


class Crew:
    """Worker processes, each with a ledger of its own.

    Args:
        directory: where ledgers and logs go.
        target: the service; or several addresses of it, which the workers take in turn.
        curricula: the curriculum of each worker that is kept running.
    """

    def __init__(self, directory: Path, target: str | Sequence[str], curricula: list[str]) -> None:
        self._directory = directory
        self._targets = [target] if isinstance(target, str) else list(target)
        self._all: list[_Worker] = []
        self._working = [self._start(curriculum) for curriculum in curricula]
        self.kills = 0

    def kill_one(self, rng: random.Random) -> None:
        """``kill -9`` a worker, of each curriculum as often, and start another in its place."""
        curriculum = rng.choice(sorted({each.curriculum for each in self._working}))
        index = rng.choice([n for n, each in enumerate(self._working) if each.curriculum == curriculum])
        worker = self._working[index]
        worker.process.kill()
        worker.process.wait()
        self.kills += 1
        self._working[index] = self._start(worker.curriculum)

    def ledgers(self, curriculum: str) -> list[Path]:
        """The ledgers of all who ever worked at a curriculum and wrote one."""
        return [each.ledger for each in self._all if each.curriculum == curriculum and each.ledger.exists()]

    def failures(self) -> list[str]:
        """What those said that ended without having been told to."""
        return [each.log.read_text() for each in self._working if each.process.poll()]

    def end(self) -> None:
        """Tell all to deliver what they have and to end, and wait for it. Raises RuntimeError where one fails."""
        for worker in self._working:
            worker.process.terminate()
        for worker in self._working:
            worker.process.wait(_END_SECONDS)
        if failures := self.failures():
            raise RuntimeError("\n".join(failures))

    def close(self) -> None:
        """End whoever is left."""
        for worker in self._working:
            worker.process.kill()
            worker.process.wait()

    def _start(self, curriculum: str) -> _Worker:
        number = len(self._all) + 1
        ledger, log = self._directory / f"ledger-{number}", self._directory / f"worker-{number}.log"
        target = self._targets[number % len(self._targets)]
        arguments = [sys.executable, "-m", "tests.chaos.worker", target, curriculum, str(ledger), str(number)]
        with log.open("wb") as output:
            process = subprocess.Popen(arguments, cwd=_ROOT, stdout=output, stderr=output)
        worker = _Worker(curriculum, process, ledger, log)
        self._all.append(worker)
        return worker
