"""The local engine keeps the contract of engines."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import pytest

from syllabus_client.wire import curriculum_pb2_grpc as pb_grpc
from syllabus_service.store import MemoryStore
from tests.service.engine_contract import BRITTLE, PICKY, Doors, EngineContract
from tests.service.serving import serving


class _Service:
    """One server, by two connections; it may be stopped and started again on the same store."""

    def __init__(self) -> None:
        self.doors: list[pb_grpc.CurriculumServiceStub] = []
        self._store = MemoryStore()
        self._running = contextlib.ExitStack()

    def start(self) -> None:
        server = self._running.enter_context(serving(self._store, allowed_curricula=[BRITTLE, PICKY]))
        self.doors[:] = [server.stub, server.stub]

    def stop(self) -> None:
        self._running.close()

    def restart(self) -> None:
        self.stop()
        self.start()


class TestLocalEngine(EngineContract):
    """One server."""

    lease = 0.8

    @pytest.fixture
    def service(self) -> Iterator[_Service]:
        service = _Service()
        service.start()
        yield service
        service.stop()

    @pytest.fixture
    def doors(self, service: _Service) -> Doors:
        return service.doors

    @pytest.fixture
    def lose_states(self, service: _Service) -> Callable[[], None]:
        return service.restart
