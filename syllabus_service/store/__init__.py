"""Journals and snapshots of curricula, behind one interface."""

from syllabus_service.store.base import (
    CorruptJournalError,
    CurriculumExistsError,
    CurriculumMissingError,
    PositionConflictError,
    Store,
    StoredCurriculum,
    StoreError,
    StoreInUseError,
    StoreUnavailableError,
    StoreVersionError,
)
from syllabus_service.store.memory import MemoryStore
from syllabus_service.store.sqlite import Durability, SqliteStore

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
    "StoreInUseError",
    "StoreUnavailableError",
    "StoreVersionError",
    "StoredCurriculum",
]
