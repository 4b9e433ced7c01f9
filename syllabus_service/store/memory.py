"""A store in memory: the reference that the durable ones are tested against; nothing survives the process."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from syllabus_service.store.base import (
    CorruptJournalError,
    CurriculumExistsError,
    CurriculumMissingError,
    PositionConflictError,
    Store,
    StoredCurriculum,
    StoreUnavailableError,
)


@dataclass
class _Entry:
    stored: StoredCurriculum
    first: int = 1
    """Position of records[0]."""
    records: list[bytes] = field(default_factory=list)
    snapshots: dict[int, bytes] = field(default_factory=dict)

    @property
    def last(self) -> int:
        return self.first + len(self.records) - 1


class MemoryStore(Store):
    """Journals and snapshots in dictionaries behind one lock.

    Example:
        >>> store = MemoryStore()
        >>> store.create_curriculum("maze", incarnation=7, spec=b"")
        >>> store.append("maze", 1, [b"first", b"second"])
        >>> list(store.read("maze", after=1))
        [(2, b'second')]
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: dict[str, _Entry] = {}
        self._closed = False

    def create_curriculum(self, name: str, incarnation: int, spec: bytes) -> None:
        with self._lock:
            self._check_open()
            if name in self._entries:
                raise CurriculumExistsError(name)
            self._entries[name] = _Entry(StoredCurriculum(name, incarnation, spec))

    def import_curriculum(
        self, stored: StoredCurriculum, snapshot: tuple[int, bytes] | None, records: Iterable[bytes]
    ) -> None:
        entry = _Entry(stored, records=list(records))
        if snapshot is not None:
            entry.first, entry.snapshots = snapshot[0] + 1, dict([snapshot])
        with self._lock:
            self._check_open()
            if stored.name in self._entries:
                raise CurriculumExistsError(stored.name)
            self._entries[stored.name] = entry

    def delete_curriculum(self, name: str) -> None:
        with self._lock:
            self._entry(name)
            del self._entries[name]

    def list_curricula(self) -> list[StoredCurriculum]:
        with self._lock:
            self._check_open()
            return [self._entries[name].stored for name in sorted(self._entries)]

    def append(self, name: str, first_position: int, records: Sequence[bytes]) -> None:
        with self._lock:
            entry = self._entry(name)
            if first_position != entry.last + 1:
                raise PositionConflictError(f"{name}: expected position {entry.last + 1}, got {first_position}")
            entry.records.extend(records)

    def last_position(self, name: str) -> int:
        with self._lock:
            return self._entry(name).last

    def read(self, name: str, after: int) -> Iterator[tuple[int, bytes]]:
        with self._lock:
            entry = self._entry(name)
            trimmed = after + 1 < entry.first
            records = entry.records[max(after + 1 - entry.first, 0) :]
        return self._read(name, after, trimmed, records)

    @staticmethod
    def _read(name: str, after: int, trimmed: bool, records: list[bytes]) -> Iterator[tuple[int, bytes]]:
        if trimmed:
            raise CorruptJournalError(f"{name}: record {after + 1} is missing")
        yield from enumerate(records, after + 1)

    def save_snapshot(self, name: str, position: int, state: bytes) -> None:
        with self._lock:
            entry = self._entry(name)
            if position > entry.last:
                raise PositionConflictError(f"{name}: expected a position of at most {entry.last}, got {position}")
            entry.snapshots[position] = state

    def snapshots(self, name: str) -> Iterator[tuple[int, bytes]]:
        with self._lock:
            return iter(sorted(self._entry(name).snapshots.items(), reverse=True))

    def trim(self, name: str, up_to: int, keep_snapshots: int) -> None:
        with self._lock:
            entry = self._entry(name)
            kept = sorted(entry.snapshots, reverse=True)[:keep_snapshots]
            if not kept:
                return
            entry.snapshots = {position: entry.snapshots[position] for position in kept}
            keep_from = min(up_to, kept[-1]) + 1
            if keep_from > entry.first:
                del entry.records[: keep_from - entry.first]
                entry.first = keep_from

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self._entries.clear()

    def _check_open(self) -> None:
        if self._closed:
            raise StoreUnavailableError("the store is closed")

    def _entry(self, name: str) -> _Entry:
        self._check_open()
        try:
            return self._entries[name]
        except KeyError:
            raise CurriculumMissingError(name) from None
