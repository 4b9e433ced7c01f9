"""What the chaos tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.postgresql import PostgresServer


@pytest.fixture(scope="module")
def database() -> Iterator[PostgresServer]:
    """A running PostgreSQL."""
    with PostgresServer() as server:
        yield server
