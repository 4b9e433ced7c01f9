"""Calls without a sequence, on a network that loses answers: creating and deleting a curriculum."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent import futures
from typing import Any

import grpc
import pytest

from syllabus_client import CurriculumClient, CurriculumExistsError, CurriculumNotFoundError, DiscreteTaskSpace
from tests.service_process import ServiceProcess


class LosingProxy(grpc.GenericRpcHandler):
    """Passes unary calls on to a service, and loses the first answers."""

    def __init__(self, target: str) -> None:
        self.lose = 0
        self.reached = 0
        self._channel = grpc.insecure_channel(target)
        self._threads = futures.ThreadPoolExecutor(2)
        self._server = grpc.server(self._threads, handlers=[self])
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def service(self, details: Any) -> grpc.RpcMethodHandler:
        def behaviour(request: bytes, context: grpc.ServicerContext) -> bytes:
            try:
                answer = self._channel.unary_unary(details.method)(request, timeout=10)
                self.reached += 1
            except grpc.RpcError as error:
                context.abort(error.code(), error.details())
            if self.lose:
                self.lose -= 1
                context.abort(grpc.StatusCode.UNAVAILABLE, "the answer was lost")
            return answer

        return grpc.unary_unary_rpc_method_handler(behaviour)

    def close(self) -> None:
        self._server.stop(None).wait()
        self._threads.shutdown()
        self._channel.close()


@pytest.fixture
def proxy(service: ServiceProcess) -> Iterator[LosingProxy]:
    proxy = LosingProxy(service.target)
    yield proxy
    proxy.close()


@pytest.fixture
def client(proxy: LosingProxy) -> Iterator[CurriculumClient]:
    with CurriculumClient(proxy.address, curriculum="maze", timeout=20.0) as client:
        yield client


def test_a_curriculum_whose_creation_was_not_answered_is_created(client: CurriculumClient, proxy: LosingProxy) -> None:
    proxy.lose = 1
    created = client.create("domain_randomization", DiscreteTaskSpace(4), seed=3)
    assert created.name == "maze"
    assert proxy.reached == 2
    assert client.get().incarnation == created.incarnation


def test_another_curriculum_of_that_name_is_no_answer_to_a_lost_creation(
    client: CurriculumClient, proxy: LosingProxy, service: ServiceProcess
) -> None:
    with CurriculumClient(service.target, curriculum="maze") as other:
        other.create("domain_randomization", DiscreteTaskSpace(5))
    with pytest.raises(CurriculumExistsError, match="maze"):
        client.create("domain_randomization", DiscreteTaskSpace(4))
    client.delete()
    proxy.lose = 1
    client.create("domain_randomization", DiscreteTaskSpace(4))
    with pytest.raises(CurriculumExistsError, match="maze"):
        client.create("domain_randomization", DiscreteTaskSpace(4))  # answered at once: it was there before


def test_a_curriculum_whose_deletion_was_not_answered_is_deleted(client: CurriculumClient, proxy: LosingProxy) -> None:
    client.create("domain_randomization", DiscreteTaskSpace(4))
    proxy.lose = 1
    client.delete()
    assert client.list() == []
    with pytest.raises(CurriculumNotFoundError, match="maze"):
        client.delete()
