"""What tests of operations share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.postgresql import PostgresServer


@pytest.fixture(scope="package")
def database() -> Iterator[PostgresServer]:
    """A running PostgreSQL. A test that stops it starts it again."""
    with PostgresServer() as server:
        yield server
