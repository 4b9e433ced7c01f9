"""The local engine keeps the contract of engines."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from syllabus_service.store import MemoryStore
from tests.service.engine_contract import PICKY, Doors, EngineContract
from tests.service.serving import serving


class TestLocalEngine(EngineContract):
    """One server, by two connections."""

    lease = 0.8

    @pytest.fixture
    def doors(self) -> Iterator[Doors]:
        with serving(MemoryStore(), allowed_curricula=[PICKY]) as server:
            yield [server.stub, server.stub]
