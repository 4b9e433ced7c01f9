"""Every store, for the conformance suite; a new one only has to be listed here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from syllabus_service.store import Durability, MemoryStore, SqliteStore, Store

STORES: dict[str, Callable[[Path], Store]] = {
    "memory": lambda directory: MemoryStore(),
    "sqlite": lambda directory: SqliteStore(directory / "data", Durability.OS),
}


@pytest.fixture(params=sorted(STORES))
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    with STORES[request.param](tmp_path) as opened:
        yield opened


@pytest.fixture
def maze(store: Store) -> Store:
    """A store that holds an empty curriculum named maze."""
    store.create_curriculum("maze", 7, b"spec")
    return store
