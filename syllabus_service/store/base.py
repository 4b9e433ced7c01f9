"""What a store of journals and snapshots must do: the interface that every backend implements."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self


class StoreError(Exception):
    """The store cannot do what was asked."""


class StoreUnavailableError(StoreError):
    """The store is away: full, locked, unreadable or gone. Whether the last write took place is not known.

    The same call may succeed later; before writing again, compare ``last_position``.
    """


class StoreInUseError(StoreError):
    """Another process holds this store."""


class StoreVersionError(StoreError):
    """The stored data is of a version that this program does not know."""


class CurriculumExistsError(StoreError):
    """There is a curriculum of this name already."""


class CurriculumMissingError(StoreError):
    """There is no curriculum of this name."""


class PositionConflictError(StoreError):
    """The journal does not end where the writer believes: another writer has been here."""


class StoreFencedError(StoreError):
    """Another writer has taken this curriculum over: what this store holds of it is the past, and never written."""


class CorruptJournalError(StoreError):
    """A journal record is damaged or missing."""


@dataclass(frozen=True)
class StoredCurriculum:
    """A curriculum as it was created."""

    name: str
    """Its name."""
    incarnation: int
    """Its identity, 1 to 2**64 - 1."""
    spec: bytes
    """What it was made from; opaque to the store."""


class Store(ABC):
    """Journals and snapshots of curricula. Records, snapshots and specs are opaque bytes.

    The journal of a curriculum holds one record for each position 1, 2, 3 ...; a snapshot at position p stands for
    the records up to p, so that these may be trimmed. Methods may be called from any thread. Each is durable when it
    returns, as far as the store's durability setting says, and takes place wholly or not at all.

    A curriculum has one writer, the store that created it or that last took it over; the fence is what keeps the
    others out. A store that only one process can have open (SQLite's, by a lock that the kernel keeps) is fenced by
    being open. One that several can reach (PostgreSQL's) takes an epoch when it is opened, higher than any before: only
    a later one takes a curriculum over. Every write compares the writer with who writes, and the earlier one, which may
    have been paused or cut off and know nothing, is told by StoreFencedError from ``append``, ``last_position``,
    ``save_snapshot``, ``trim`` and ``delete_curriculum``.

    Every method may raise StoreUnavailableError. Those that take the name of a curriculum raise CurriculumMissingError
    where there is none.
    """

    is_shared: ClassVar[bool] = False
    """Whether other processes may create curricula in it while it is open, so that what there is has to be asked."""

    @abstractmethod
    def create_curriculum(self, name: str, incarnation: int, spec: bytes) -> None:
        """Store a new curriculum with an empty journal. Raises CurriculumExistsError where the name is taken."""

    @abstractmethod
    def import_curriculum(
        self, stored: StoredCurriculum, snapshot: tuple[int, bytes] | None, records: Iterable[bytes]
    ) -> None:
        """Store a new curriculum with its history, wholly or not at all. O(bytes); in memory one record at a time.

        Where several processes can reach the store, it has no writer until one takes it over.

        Args:
            stored: the curriculum.
            snapshot: a position and the state there; None where ``records`` begin at the beginning.
            records: the records behind it.

        Raises CurriculumExistsError where the name is taken, and whatever ``records`` raises.
        """

    @abstractmethod
    def delete_curriculum(self, name: str) -> None:
        """Remove a curriculum with its journal and snapshots."""

    @abstractmethod
    def list_curricula(self) -> list[StoredCurriculum]:
        """All curricula, ordered by name."""

    def find_curricula(self, names: Collection[str]) -> list[StoredCurriculum]:
        """Those of these names that there are, ordered by name."""
        return [each for each in self.list_curricula() if each.name in names]

    def take_over(self, name: str) -> None:
        """Become the only writer of a curriculum, before its journal is read to go on from its end. O(1).

        When this returns, the journal has all that another writer will ever have written to it. Raises
        StoreFencedError where a store that was opened later is its writer.
        """
        self.last_position(name)  # one that only one process can have open is its writer already

    @abstractmethod
    def append(self, name: str, first_position: int, records: Sequence[bytes]) -> None:
        """Add records to a journal in one durable write; the first gets ``first_position``. O(bytes).

        Raises PositionConflictError, and writes nothing, unless ``first_position == last_position(name) + 1``: so of
        two writers that believe to own a curriculum, one is told. Where several processes can reach the store, it must
        have created the curriculum or taken it over before.
        """

    @abstractmethod
    def last_position(self, name: str) -> int:
        """Position of the last record ever appended, 0 where there was none. O(1).

        An ``append`` that raised StoreUnavailableError may still take place after this was asked. Then the same records
        appended again are recognised, and are in the journal once.
        """

    @abstractmethod
    def read(self, name: str, after: int) -> Iterator[tuple[int, bytes]]:
        """The records behind position ``after``, in order, each with its position; in memory one at a time.

        Raises CorruptJournalError at a record that is damaged or not there (trimmed, or lost).
        """

    @abstractmethod
    def save_snapshot(self, name: str, position: int, state: bytes) -> None:
        """Store the state after the record at ``position``; replaces a snapshot of the same position. O(bytes).

        Appends may go on meanwhile. Raises PositionConflictError for a position that the journal has not reached.
        """

    @abstractmethod
    def snapshots(self, name: str) -> Iterator[tuple[int, bytes]]:
        """The snapshots, newest first, each with its position; damaged ones are logged and left out."""

    @abstractmethod
    def trim(self, name: str, up_to: int, keep_snapshots: int) -> None:
        """Remove all but the newest ``keep_snapshots`` snapshots, and the records that no kept snapshot needs.

        Records up to ``up_to`` are removed, but none behind the oldest kept snapshot; without a snapshot, none.
        ``keep_snapshots`` is at least 1.
        """

    @abstractmethod
    def close(self) -> None:
        """Let go of files and locks. Calling it again does nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()
