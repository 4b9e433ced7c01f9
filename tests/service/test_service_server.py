"""Where a server listens and where it will not, health, reflection, and how it drains."""

from __future__ import annotations

import asyncio
import shutil
import signal
import socket
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from syllabus_client.wire import curriculum_pb2 as pb
from syllabus_client.wire import curriculum_pb2_grpc as pb_grpc
from syllabus_service.addresses import Address, AddressError
from syllabus_service.engine import LocalEngine
from syllabus_service.server import Server, TlsFiles
from tests.service.serving import TIMEOUT, Stream, serving, status
from tests.service.test_service_engine import TroubledStore

SERVICE = "syllabus.v1.CurriculumService"


def _start(listen: str, **options) -> list[str]:
    """Start and stop a server; where it listened."""

    async def run() -> list[str]:
        async with LocalEngine() as engine, Server(engine, listen=[listen], **options) as server:
            return server.addresses

    return asyncio.run(run())


@pytest.mark.parametrize("listen", ["0.0.0.0:0", "[::]:0", "192.0.2.1:0", "training.example:0"])
def test_listening_beyond_this_machine_without_tls_is_refused(listen: str) -> None:
    with pytest.raises(AddressError, match="without TLS"):
        _start(listen)


def test_one_open_address_among_private_ones_is_refused_before_any_is_bound(tmp_path: Path) -> None:
    async def run() -> None:
        async with LocalEngine() as engine, Server(engine, listen=[f"unix:{tmp_path}/s", "0.0.0.0:0"]):
            pass

    with pytest.raises(AddressError):
        asyncio.run(run())
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "localhost:0"])
def test_loopback_is_private_and_port_0_takes_a_free_one(listen: str) -> None:
    assert int(_start(listen)[0].rpartition(":")[2]) > 0


def test_insecure_is_said_explicitly() -> None:
    assert _start("0.0.0.0:0", insecure=True)[0].startswith("0.0.0.0:")


@pytest.mark.parametrize(
    "text", ["", "50051", "host", "host:", ":1", "host:99999", "a:b:1", "[::1]", "unix:", "unix:" + "x" * 108]
)
def test_an_address_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(AddressError, match="expected"):
        Address.parse(text)


@pytest.mark.parametrize("text", ["127.0.0.1:1", "[::1]:65535", "some-host:0", "unix:/run/s"])
def test_an_address_is_written_as_it_was_read(text: str) -> None:
    assert str(Address.parse(text)) == text


def test_a_unix_socket_is_for_its_owner_only_and_gone_after_a_stop(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with serving(listen=[f"unix:{path}"]) as server:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        server.create()
    assert not path.exists()


def test_the_socket_file_of_a_dead_server_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))  # and never listened to again
    with serving(listen=[f"unix:{path}"]) as server:
        server.create()


def test_the_socket_of_a_live_server_is_refused_and_the_server_goes_on(tmp_path: Path) -> None:
    listen = f"unix:{tmp_path}/s"
    with serving(listen=[listen]) as server:
        with pytest.raises(AddressError, match="another server"):
            _start(listen)
        server.create()


def test_a_file_that_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "s").write_text("my thesis")
    with pytest.raises(AddressError, match="not a socket"):
        _start(f"unix:{tmp_path}/s")
    assert (tmp_path / "s").read_text() == "my thesis"


def test_a_port_that_is_taken_is_refused() -> None:
    with serving() as server, pytest.raises(AddressError, match="taken"):
        _start(server.address)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes its certificate with openssl")
def test_with_a_certificate_it_speaks_tls_only(tmp_path: Path) -> None:
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    make = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 -subj /CN=localhost"
    names = "subjectAltName=DNS:localhost,IP:127.0.0.1"
    subprocess.run(
        [*make.split(), "-addext", names, "-keyout", str(key), "-out", str(certificate)],
        check=True,
        capture_output=True,
    )
    request = pb.ListCurriculaRequest()

    async def run() -> None:
        async with LocalEngine() as engine:
            tls = TlsFiles(certificate, key)
            async with Server(engine, listen=["0.0.0.0:0"], tls=tls) as server:
                target = server.addresses[0].replace("0.0.0.0", "127.0.0.1")
                trusted = grpc.ssl_channel_credentials(certificate.read_bytes())
                async with grpc.aio.secure_channel(target, trusted) as channel:
                    await pb_grpc.CurriculumServiceStub(channel).ListCurricula(request, timeout=TIMEOUT)
                async with grpc.aio.insecure_channel(target) as channel:
                    with pytest.raises(grpc.RpcError):
                        await pb_grpc.CurriculumServiceStub(channel).ListCurricula(request, timeout=TIMEOUT)

    asyncio.run(run())


def test_tls_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(AddressError, match=r"nowhere\.pem"):
        _start("127.0.0.1:0", tls=TlsFiles(tmp_path / "nowhere.pem", tmp_path / "nowhere.pem"))


def _health(address: str, service: str) -> str:
    with grpc.insecure_channel(address) as channel:
        answer = health_pb2_grpc.HealthStub(channel).Check(
            health_pb2.HealthCheckRequest(service=service), timeout=TIMEOUT
        )
    return health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)


def test_readiness_follows_the_store_and_liveness_does_not() -> None:
    store = TroubledStore()
    with serving(store) as server:
        server.create()
        assert (_health(server.address, ""), _health(server.address, SERVICE)) == ("SERVING", "SERVING")
        with grpc.insecure_channel(server.address) as channel:
            watch = health_pb2_grpc.HealthStub(channel).Watch(
                health_pb2.HealthCheckRequest(service=SERVICE), timeout=TIMEOUT
            )
            assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
            store.trouble.away = True
            pending = server.stub.GetTask.future(
                pb.GetTaskRequest(curriculum="maze", session_id="s", sequence=1, num_tasks=1), timeout=TIMEOUT
            )
            assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
            assert _health(server.address, "") == "SERVING"
            store.trouble.away = False
            assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
            assert pending.result().reply.position == 1
            watch.cancel()


def test_a_watch_of_health_tells_the_drain_and_then_ends_so_that_the_drain_does() -> None:
    with serving() as server, grpc.insecure_channel(server.address) as channel:
        watches = [
            health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service=name), timeout=TIMEOUT)
            for name in (SERVICE, "", "nobody")
        ]
        first = [next(watch).status for watch in watches]
        assert first == [
            health_pb2.HealthCheckResponse.SERVING,
            health_pb2.HealthCheckResponse.SERVING,
            health_pb2.HealthCheckResponse.SERVICE_UNKNOWN,
        ]
        # Its grace is longer than the test may take: it ends because nothing is left to wait for.
        asyncio.run_coroutine_threadsafe(server.server.stop(1000.0), server._loop).result(TIMEOUT)
        for watch, told in zip(watches, (1, 1, 0), strict=True):
            last = []
            with pytest.raises(grpc.RpcError) as ended:
                last += watch
            assert status(ended.value) == "UNAVAILABLE"
            assert len(last) == told


def test_a_server_without_an_engine_is_alive_not_ready_and_asks_to_be_tried_again() -> None:
    async def run() -> None:
        async with Server(None, listen=["127.0.0.1:0"]) as server:
            address = server.addresses[0]
            assert await asyncio.to_thread(_health, address, "") == "SERVING"
            assert await asyncio.to_thread(_health, address, SERVICE) == "NOT_SERVING"
            async with grpc.aio.insecure_channel(address) as channel:
                stub = pb_grpc.CurriculumServiceStub(channel)
                with pytest.raises(grpc.RpcError) as refused:
                    await stub.ListCurricula(pb.ListCurriculaRequest(), timeout=TIMEOUT)
                assert status(refused.value) == "UNAVAILABLE"
                with pytest.raises(grpc.RpcError) as refused:
                    await stub.StreamMetrics(iter([]), timeout=TIMEOUT).read()
                assert status(refused.value) == "UNAVAILABLE"
                async with LocalEngine() as engine:
                    server.serve(engine)
                    assert await asyncio.to_thread(_health, address, SERVICE) == "SERVING"
                    await stub.ListCurricula(pb.ListCurriculaRequest(), timeout=TIMEOUT)
                    await server.stop()

    asyncio.run(run())


def test_reflection_names_the_service() -> None:
    with serving() as server, grpc.insecure_channel(server.address) as channel:
        requests = iter([reflection_pb2.ServerReflectionRequest(list_services="")])
        answer = next(reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(requests, timeout=TIMEOUT))
        assert SERVICE in {each.name for each in answer.list_services_response.service}


def test_a_drain_answers_what_was_sent_ends_streams_as_unavailable_and_takes_nothing_new() -> None:
    store = TroubledStore()
    with serving(store) as server:
        server.create()
        stream = Stream(server.stub)
        stream.open()
        watch = server.stub.WatchCurriculum(pb.WatchCurriculumRequest(curriculum="maze"), timeout=TIMEOUT)
        next(watch)
        store.trouble.gate.clear()
        store.trouble.tried.clear()
        stream.send_batch(1, pb.MetricsBatch(num_tasks=1))
        assert store.trouble.tried.wait(TIMEOUT)
        stopping = asyncio.run_coroutine_threadsafe(server.server.stop(10.0), server._loop)
        store.trouble.gate.set()
        assert stream.receive().reply.sequence == 1
        assert status(stream.error()) == "UNAVAILABLE"
        with pytest.raises(grpc.RpcError) as ended:
            list(watch)
        assert status(ended.value) == "UNAVAILABLE"
        stopping.result(TIMEOUT)
        with pytest.raises(grpc.RpcError) as refused:
            server.stub.ListCurricula(pb.ListCurriculaRequest(), timeout=TIMEOUT)
        assert status(refused.value) == "UNAVAILABLE"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_the_process_with_exit_code_0(start_service: Callable, number: signal.Signals) -> None:
    service = start_service("--grace", "5")
    with service.stub() as stub:
        stream = Stream(stub)
        stub.CreateCurriculum(
            pb.CreateCurriculumRequest(
                name="maze",
                spec=pb.CurriculumSpec(
                    algorithm="domain_randomization",
                    task_space=pb.TaskSpace(discrete=pb.DiscreteTaskSpace(num_tasks=3)),
                ),
            ),
            timeout=TIMEOUT,
        )
        stream.open()
        stream.ask(1, pb.MetricsBatch(num_tasks=1))
        assert service.terminate(number) == 0
        assert status(stream.error()) == "UNAVAILABLE"
    assert [event["position"] for event in service.events("snapshot_written")] == [1]
    assert not Path(service.target.removeprefix("unix:")).exists()
