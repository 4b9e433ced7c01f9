"""Replay: a stored curriculum as it was after any of its commands, and whether its snapshots are right."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from syllabus_service.host import CurriculumHost
from syllabus_service.store import CorruptJournalError, Store


@dataclass(frozen=True)
class Verdict:
    """Whether a snapshot is what a replay gives at its position."""

    position: int
    """Of the snapshot."""
    replayed_from: int | None
    """Where the replay began: 0, or the position of an older snapshot; None where the journal in front is trimmed."""
    equal: bool
    """Whether the states are the same, bit for bit; True where it cannot be checked."""


def replay(
    store: Store, name: str, make_host: Callable[[], CurriculumHost], until: int | None = None
) -> CurriculumHost:
    """The host of a curriculum after its command number ``until``, or after its last one. O(records behind a snapshot).

    Begins at the newest snapshot that is not behind ``until``, or at the beginning where there is none.

    Raises:
        ValueError: the journal does not reach from a snapshot, or from its beginning, to ``until``.
        CorruptJournalError: a record that is needed is damaged.
    """
    last = store.last_position(name)
    if until is None:
        until = last
    if not 0 <= until <= last:
        raise ValueError(f"until: expected 0 to {last}, the last command of {name}, got {until}")
    host = make_host()
    for position, state in store.snapshots(name):
        if position <= until:
            host.load_snapshot(state)
            break
    _advance(store, name, host, until)
    return host


def verify(store: Store, name: str, make_host: Callable[[], CurriculumHost]) -> Iterator[Verdict]:
    """Check each kept snapshot, oldest first, against a replay from the one before it, or from the beginning."""
    snapshots = sorted(store.snapshots(name))
    host, start = make_host(), 0
    for position, state in snapshots:
        try:
            _advance(store, name, host, position)
        except ValueError:  # trimmed: the journal begins behind this snapshot
            yield Verdict(position, None, equal=True)
        else:
            yield Verdict(position, start, equal=host.snapshot() == state)
        host, start = make_host(), position
        host.load_snapshot(state)
    _advance(store, name, host, store.last_position(name))


def _advance(store: Store, name: str, host: CurriculumHost, until: int) -> None:
    if host.position == until:
        return
    try:
        for position, record in store.read(name, after=host.position):
            if position > until:
                break
            host.replay(record)
    except CorruptJournalError as error:
        if host.position == 0:
            raise ValueError(f"the journal of {name} no longer reaches back to its beginning: {error}") from error
        raise
    if host.position != until:
        raise CorruptJournalError(f"{name}: expected the journal to reach {until}, and it ends at {host.position}")
