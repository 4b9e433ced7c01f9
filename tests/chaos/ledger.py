"""A worker's ledger: which episodes it sent, and which of them the service has acknowledged; survives ``kill -9``."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self


class LedgerWriter:
    """Appends to a ledger; each entry is the operating system's when the call returns."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._last = -1

    def sent(self, episode: int, task: int) -> None:
        """An episode is about to be reported."""
        self._last = episode
        self._write(f"sent {episode} {task}")

    def confirmed(self) -> None:
        """All that was sent is acknowledged."""
        self._write(f"confirmed {self._last}")

    def resent(self, batches: int, reconnects: int) -> None:
        """How much was sent again, in all."""
        self._write(f"resent {batches} {reconnects}")

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._descriptor)

    def _write(self, line: str) -> None:
        os.write(self._descriptor, line.encode() + b"\n")


@dataclass
class Ledger:
    """What ledgers say together. Episodes have numbers that no two workers share."""

    confirmed: dict[int, int] = field(default_factory=dict)
    """Task by episode: acknowledged."""
    unconfirmed: dict[int, int] = field(default_factory=dict)
    """Task by episode: sent, or about to be, when the worker was killed."""
    batches_resent: int = 0
    reconnects: int = 0

    @classmethod
    def read(cls, paths: list[Path]) -> Self:
        """Read ledgers of workers that have ended. A line that was cut off is none."""
        ledger = cls()
        for path in paths:
            pending: dict[int, int] = {}
            for line in path.read_text().splitlines(keepends=True):
                match line.split() if line.endswith("\n") else []:
                    case ["sent", episode, task]:
                        pending[int(episode)] = int(task)
                    case ["confirmed", _]:
                        ledger.confirmed |= pending
                        pending = {}
                    case ["resent", batches, reconnects]:
                        ledger.batches_resent += int(batches)
                        ledger.reconnects += int(reconnects)
            ledger.unconfirmed |= pending
        return ledger
