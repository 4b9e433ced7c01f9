"""Journals and snapshots of curricula, behind one interface."""

from syllabus_service.store.base import (
    CorruptJournalError,
    CurriculumExistsError,
    CurriculumMissingError,
    PositionConflictError,
    Store,
    StoredCurriculum,
    StoreError,
    StoreFencedError,
    StoreInUseError,
    StoreUnavailableError,
    StoreVersionError,
)
from syllabus_service.store.durability import Durability
from syllabus_service.store.memory import MemoryStore
from syllabus_service.store.opening import open_store
from syllabus_service.store.sqlite import SqliteStore

__all__ = [
    "CorruptJournalError",
    "CurriculumExistsError",
    "CurriculumMissingError",
    "Durability",
    "MemoryStore",
    "PositionConflictError",
    "SqliteStore",
    "Store",
    "StoreError",
    "StoreFencedError",
    "StoreInUseError",
    "StoreUnavailableError",
    "StoreVersionError",
    "StoredCurriculum",
    "open_store",
]
