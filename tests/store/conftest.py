"""Every store, for the conformance suite; a new one only has to be listed here."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from syllabus_service.store import Durability, MemoryStore, SqliteStore, Store
from syllabus_service.store.postgresql import PostgresqlStore
from tests.postgresql import PostgresServer

_numbers = itertools.count(1)

STORES: dict[str, Callable[[pytest.FixtureRequest, Path], Store]] = {
    "memory": lambda request, directory: MemoryStore(),
    "sqlite": lambda request, directory: SqliteStore(directory / "data", Durability.OS),
    "postgresql": lambda request, directory: PostgresqlStore(
        request.getfixturevalue("database").url(), Durability.OS, schema=f"conformance_{next(_numbers)}"
    ),
}


@pytest.fixture(scope="session")
def database() -> Iterator[PostgresServer]:
    """A running PostgreSQL. A test that stops it starts it again."""
    with PostgresServer() as server:
        yield server


@pytest.fixture(params=sorted(STORES))
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    with STORES[request.param](request, tmp_path) as opened:
        yield opened


@pytest.fixture
def maze(store: Store) -> Store:
    """A store that holds an empty curriculum named maze."""
    store.create_curriculum("maze", 7, b"spec")
    return store
