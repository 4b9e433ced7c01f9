"""A store is opened by its URL, and a URL that is none says what was expected without repeating a password."""

from __future__ import annotations

from pathlib import Path

import pytest

from syllabus_service.store import Durability, MemoryStore, SqliteStore, StoreError, StoreUnavailableError, open_store
from syllabus_service.store.postgresql import PostgresqlStore
from tests.postgresql import PostgresServer


def test_memory_is_a_store_of_its_own_each_time() -> None:
    with open_store("memory:") as one, open_store("memory:") as other:
        assert isinstance(one, MemoryStore)
        one.create_curriculum("maze", 1, b"")
        assert other.list_curricula() == []


def test_sqlite_takes_an_absolute_and_a_relative_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_store(f"sqlite:///{tmp_path}/a%20dir", Durability.OS) as store:
        assert isinstance(store, SqliteStore)
    assert (tmp_path / "a dir" / "lock").exists()
    monkeypatch.chdir(tmp_path)
    with open_store("sqlite:///here/data"):
        assert (tmp_path / "here" / "data" / "lock").exists()


@pytest.mark.parametrize("scheme", ["postgresql", "postgres"])
def test_postgresql_takes_what_libpq_takes(database: PostgresServer, scheme: str) -> None:
    url = database.url().replace("postgresql:", f"{scheme}:")
    with open_store(url) as store:
        assert isinstance(store, PostgresqlStore)
        store.create_curriculum("opened", 1, b"")
        store.delete_curriculum("opened")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("", "expected sqlite:///DIRECTORY"),
        ("memory", "expected sqlite:///DIRECTORY"),
        ("mysql://me:secret@host/db", "begins with 'mysql'"),
        ("sqlite://data", "three slashes"),
        ("sqlite:///", "three slashes"),
        ("sqlite:///data?mode=ro", "three slashes"),
        ("postgresql://me:secret@host/db?nonsense=1", "expected a URL such as"),
    ],
)
def test_what_is_no_store_s_url_is_refused(url: str, message: str) -> None:
    with pytest.raises(StoreError, match=message) as refused:
        open_store(url)
    assert "secret" not in str(refused.value)


def test_an_unreachable_database_does_not_show_its_password(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailableError) as refused:
        open_store(f"postgresql://me:secret@/db?host={tmp_path}")
    assert "secret" not in str(refused.value)
