"""Flush marks: places in the reports, and the batch after which all that was reported before them is in the journal."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, eq=False)
class FlushMark:
    """A place in the reports."""

    added: tuple[int, ...]
    """Rows that had been added to each queue."""
    epoch: int
    """The life of the session."""


class FlushMarks:
    """The marks that somebody asks about, each with its batch's sequence once that is known."""

    def __init__(self) -> None:
        self._sequences: dict[FlushMark, int | None] = {}

    @property
    def wait_for_batch(self) -> bool:
        """Whether rows before a mark are in no batch yet."""
        return None in self._sequences.values()

    def set(self, mark: FlushMark, sequence: int | None) -> None:
        """Add a mark; ``sequence``: the batch, where all rows before the mark are in one already."""
        self._sequences[mark] = sequence

    def sequence(self, mark: FlushMark) -> int | None:
        """The last batch with rows before the mark; None where that is not known, or was given up."""
        return self._sequences.get(mark)

    def passed(self, taken: tuple[int, ...], sequence: int) -> None:
        """A batch was made, with which ``taken`` rows of each queue have left."""
        for mark, known in self._sequences.items():
            if known is None and all(t >= added for t, added in zip(taken, mark.added, strict=True)):
                self._sequences[mark] = sequence

    def forget(self, mark: FlushMark) -> None:
        """Nobody asks about it any more."""
        self._sequences.pop(mark, None)

    def clear(self) -> None:
        """Forget all."""
        self._sequences.clear()
