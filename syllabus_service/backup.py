"""Backup and restore: stored curricula to a file, beside a service that runs, and from a file into a store."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import BinaryIO, Protocol

from syllabus_service.backup_file import BackupError, BackupWriter, read_backup
from syllabus_service.store import CorruptJournalError, CurriculumExistsError, Store, StoredCurriculum, StoreError

_TRIES = 5


class History(Protocol):
    """What a backup reads of a store; see ``Store``."""

    def list_curricula(self) -> list[StoredCurriculum]: ...

    def snapshots(self, name: str) -> Iterator[tuple[int, bytes]]: ...

    def read(self, name: str, after: int) -> Iterator[tuple[int, bytes]]: ...


@dataclass(frozen=True)
class Copied:
    """A curriculum that was written to a file, or found in one."""

    name: str
    """Its name."""
    last_position: int
    """Commands in its journal, those in front of the snapshot counted."""
    num_records: int
    """Of these, in the file."""


def back_up(history: History, stream: BinaryIO, names: Collection[str] = ()) -> Iterator[Copied]:
    """Write curricula to a file: of each, the newest snapshot and the journal behind it, as of one moment.

    Args:
        history: what to read.
        stream: where to.
        names: which curricula; none: all.

    Raises BackupError for a name that there is not, and StoreError.
    """
    stored = {each.name: each for each in history.list_curricula()}
    chosen = _chosen(stored, names)
    writer = BackupWriter(stream)
    for name in chosen:
        snapshot, records = _one_moment(history, stored[name])
        writer.curriculum(stored[name])
        last = count = 0
        if snapshot is not None:
            last = snapshot[0]
            writer.snapshot(*snapshot)
        for position, record in records:
            writer.record(record)
            last, count = position, count + 1
        writer.end_curriculum(last)
        yield Copied(name, last, count)
    writer.end()


def check_backup(path: Path) -> list[Copied]:
    """What a file holds, read to its end. Raises BackupError where it is not whole."""
    found = []
    with path.open("rb") as stream:
        for each in read_backup(stream):
            count = sum(1 for _ in each.records)
            start = 0 if each.snapshot is None else each.snapshot[0]
            found.append(Copied(each.stored.name, start + count, count))
    return found


def restore(path: Path, store: Store, names: Collection[str] = (), *, moved: bool = False) -> Iterator[Copied]:
    """Bring curricula of a file into a store that has none of their names, each wholly or not at all.

    The whole file is read first, so that one that is damaged or cut short changes nothing.

    A curriculum gets another incarnation, because what was acknowledged after the backup is lost: a session that began
    before it could take an assignment for another of the same id, so sessions begin anew. Where nothing was, because
    the service was stopped before the backup was made, ``moved`` keeps the incarnation, and sessions go on.

    Raises BackupError, CurriculumExistsError, StoreError.
    """
    whole = {each.name: each for each in check_backup(path)}
    chosen = _chosen(whole, names)
    if taken := sorted({each.name for each in store.list_curricula()} & set(chosen)):
        raise CurriculumExistsError(f"the store has curricula of these names already: {', '.join(taken)}")
    with path.open("rb") as stream:
        for each in read_backup(stream):
            if each.stored.name not in chosen:
                continue
            incarnation = each.stored.incarnation if moved else secrets.randbelow(2**64 - 1) + 1
            store.import_curriculum(replace(each.stored, incarnation=incarnation), each.snapshot, each.records)
            yield whole[each.stored.name]


def _chosen(known: Collection[str], names: Collection[str]) -> list[str]:
    if unknown := sorted(set(names) - set(known)):
        raise BackupError(
            f"there is no curriculum {', '.join(unknown)}; there are: {', '.join(sorted(known)) or 'none'}"
        )
    return sorted(set(names) or known)


def _one_moment(
    history: History, stored: StoredCurriculum
) -> tuple[tuple[int, bytes] | None, Iterator[tuple[int, bytes]]]:
    """A snapshot, and the records behind it, of which the first was read: from then on they do not change.

    Between the two a service may trim what is behind the snapshot, or delete the curriculum and make another one.
    """
    for left in reversed(range(_TRIES)):
        snapshot = next(history.snapshots(stored.name), None)
        records = history.read(stored.name, after=0 if snapshot is None else snapshot[0])
        try:
            first = next(records, None)
        except CorruptJournalError:
            if not left:
                raise
            continue
        if stored in history.list_curricula():
            return snapshot, records if first is None else chain([first], records)
    raise StoreError(f"{stored.name}: was deleted, or created anew, while it was read")
