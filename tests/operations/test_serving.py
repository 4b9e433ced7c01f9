"""A service process while it starts without its database, and while its config changes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import grpc
import pytest
import structlog
from click.testing import CliRunner
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from structlog.testing import capture_logs

from syllabus_client.target import Target
from syllabus_client.wire import curriculum_pb2 as pb
from syllabus_client.wire import curriculum_pb2_grpc as pb_grpc
from syllabus_service import config_follower
from syllabus_service.cli import main
from syllabus_service.config_follower import ConfigFollower
from syllabus_service.errors import Unavailable
from syllabus_service.probe import check
from syllabus_service.store import SqliteStore
from tests.metrics.scrape import scrape
from tests.postgresql import PostgresServer
from tests.service.serving import TIMEOUT, status
from tests.service_process import ServiceProcess

SERVICE = "syllabus.v1.CurriculumService"
MAZE = "curricula:\n  maze:\n    algorithm: domain_randomization\n    task_space: 3\n"
ZOO = "  zoo:\n    algorithm: domain_randomization\n    task_space: 4\n"


@pytest.fixture(autouse=True)
def _logs_as_before() -> Iterator[None]:
    """The command line sets up this process's logs."""
    yield
    structlog.reset_defaults()


def _wait_for(service: ServiceProcess, event: str, count: int = 1) -> list[dict]:
    deadline = time.monotonic() + TIMEOUT
    while len(found := service.events(event)) < count:
        assert time.monotonic() < deadline, f"the service never said {event}"
        time.sleep(0.02)
    return found


@contextlib.contextmanager
def _starting(tmp_path: Path, *arguments: str) -> Iterator[tuple[ServiceProcess, threading.Thread]]:
    """A service process that may take long to start, and the thread that waits until it has."""
    service = ServiceProcess(tmp_path, *arguments, data_dir=None, listen=f"unix:{tmp_path}/s")

    def start() -> None:
        with contextlib.suppress(RuntimeError):  # it was told to stop before
            service.start()

    thread = threading.Thread(target=start)
    thread.start()
    try:
        yield service, thread
    finally:
        thread.join()
        service.close()


def test_a_service_whose_database_is_away_at_its_start_is_alive_and_not_ready_and_serves_once_it_is_there(
    database: PostgresServer, tmp_path: Path
) -> None:
    url = database.create_database("late")
    database.stop()
    is_back = False
    try:
        with _starting(tmp_path, "--store", url) as (service, thread):
            waiting = _wait_for(service, "waiting_for_store")[0]
            assert 0 < waiting["seconds_left"] <= 300
            target = Target(f"unix:{tmp_path}/s", "")
            assert check(target, timeout=TIMEOUT) == "SERVING"
            assert check(target, service=SERVICE, timeout=TIMEOUT) == "NOT_SERVING"
            with service.stub() as stub, pytest.raises(grpc.RpcError) as refused:
                stub.ListCurricula(pb.ListCurriculaRequest(), timeout=TIMEOUT)
            assert status(refused.value) == "UNAVAILABLE"
            database.start()
            is_back = True
            thread.join()
            assert check(target, service=SERVICE, timeout=TIMEOUT) == "SERVING"
            with service.stub() as stub:
                stub.ListCurricula(pb.ListCurriculaRequest(), timeout=TIMEOUT)
            assert service.terminate() == 0
    finally:
        if not is_back:
            database.start()


def test_a_service_that_waits_for_its_database_can_be_stopped(tmp_path: Path) -> None:
    with _starting(tmp_path, "--store", f"postgresql://nobody@/nothing?host={tmp_path}") as (service, thread):
        _wait_for(service, "waiting_for_store")
        os.kill(service.pid, signal.SIGTERM)
        thread.join()
        assert not service.events("listening")
        assert service.events("stopped")


def test_a_start_gives_a_database_up_after_the_stated_time_in_one_line(tmp_path: Path) -> None:
    arguments = ["--store", f"postgresql://nobody@/nothing?host={tmp_path}", "--store-wait", "0"]
    result = CliRunner().invoke(main, ["serve", "--log-level", "error", "--listen", f"unix:{tmp_path}/s", *arguments])
    assert (result.exit_code, result.output.count("\n")) == (1, 1)
    assert "cannot connect to the database" in result.output


def _names(service: ServiceProcess) -> dict[str, int]:
    """Sizes of the task spaces of the curricula that are served."""
    with service.stub() as stub:
        listed = stub.ListCurricula(pb.ListCurriculaRequest(), timeout=TIMEOUT).curricula
        found = [stub.GetCurriculum(pb.GetCurriculumRequest(curriculum=each.name), timeout=TIMEOUT) for each in listed]
    return {each.curriculum.name: each.curriculum.spec.task_space.discrete.num_tasks for each in found}


def test_a_curriculum_that_is_added_to_the_config_is_created_and_one_that_is_changed_goes_on_as_it_was(
    start_service: Callable[..., ServiceProcess], tmp_path: Path
) -> None:
    config = tmp_path / "curricula.yaml"
    config.write_text(MAZE)
    service = start_service("--config", str(config))
    assert _names(service) == {"maze": 3}
    config.write_text(MAZE.replace("task_space: 3", "task_space: 33") + ZOO)
    _wait_for(service, "config_read_again")
    assert _names(service) == {"maze": 3, "zoo": 4}
    refused = service.events("config_not_taken")[0]
    assert (refused["curriculum"], refused["place"]) == ("maze", f"{config}:2")
    assert "another spec" in refused["error"]
    config.write_text(MAZE.replace("task_space", "colour"))
    mistake = _wait_for(service, "config_not_taken", 2)[1]
    assert "curricula.maze.colour" in mistake["error"]
    assert _names(service) == {"maze": 3, "zoo": 4}
    config.write_text(MAZE)
    assert _wait_for(service, "config_read_again", 2)[1]["no_longer_named"] == ["zoo"]
    assert _names(service) == {"maze": 3, "zoo": 4}


def test_a_config_map_that_kubelet_replaces_is_followed(
    start_service: Callable[..., ServiceProcess], tmp_path: Path
) -> None:
    """kubelet never writes to a mounted file: ``..data``, a link that leads to all of them, is replaced at once."""
    mounted = tmp_path / "mounted"

    def swap(text: str) -> None:
        version = mounted / f"..{len(list(mounted.iterdir()))}"
        version.mkdir()
        (version / "curricula.yaml").write_text(text)
        os.utime(version / "curricula.yaml", ns=(0, 0))  # time alone would be no way to tell
        (mounted / "..data_tmp").symlink_to(version.name)
        (mounted / "..data_tmp").rename(mounted / "..data")

    mounted.mkdir()
    swap(MAZE)
    (mounted / "curricula.yaml").symlink_to("..data/curricula.yaml")
    service = start_service("--config", str(mounted / "curricula.yaml"))
    swap(MAZE + ZOO)
    _wait_for(service, "config_read_again")
    assert _names(service) == {"maze": 3, "zoo": 4}


def test_a_start_leaves_out_what_it_cannot_take_from_the_config_and_serves_the_others(
    start_service: Callable[..., ServiceProcess], tmp_path: Path
) -> None:
    """One curriculum is stored with another spec, one cannot be recovered: neither keeps the service from starting."""
    config = tmp_path / "curricula.yaml"
    config.write_text(MAZE + ZOO)
    start_service("--config", str(config)).kill()
    with SqliteStore(tmp_path / "data") as store:
        store.append("zoo", 1, [b"not a record"])
    config.write_text(MAZE.replace("task_space: 3", "task_space: 33") + ZOO + ZOO.replace("zoo", "new"))
    service = start_service("--config", str(config))
    different, broken = service.events("config_not_taken")
    assert (different["curriculum"], different["place"]) == ("maze", f"{config}:2")
    assert "another spec" in different["error"]
    assert (broken["curriculum"], broken["place"]) == ("zoo", f"{config}:5")
    assert "could not be recovered" in broken["error"]
    assert _names(service) == {"maze": 3, "new": 4}
    assert check(Target(service.target, ""), service=SERVICE, timeout=TIMEOUT) == "SERVING"


class _Fake:
    """An engine that fails as it is told; only what a follower asks of it."""

    def __init__(self, *outcomes: BaseException | None) -> None:
        self.outcomes = list(outcomes)
        self.created: list[str] = []
        self.silent: set[str] = set()
        self.expected: set[str] = set()

    def expect(self, names: Iterable[str]) -> None:
        self.expected |= set(names)

    def expect_no_more(self, name: str) -> None:
        self.expected.discard(name)

    async def create(self, name: str, spec: pb.CurriculumSpec, **options: bool) -> None:
        if name in self.silent:
            await asyncio.Event().wait()
        if self.outcomes and (outcome := self.outcomes.pop(0)) is not None:
            raise outcome
        self.created.append(name)


def _follow(monkeypatch: pytest.MonkeyPatch, path: Path, engine: _Fake, until: Callable[[], bool]) -> ConfigFollower:
    monkeypatch.setattr(config_follower, "_CHECK_SECONDS", 0.01)

    async def run() -> ConfigFollower:
        follower = ConfigFollower(path)
        task = asyncio.create_task(follower.follow(engine))  # type: ignore[arg-type]
        deadline = time.monotonic() + TIMEOUT
        while not until():
            assert time.monotonic() < deadline
            assert not task.done()
            await asyncio.sleep(0.01)
        task.cancel()
        return follower

    return asyncio.run(run())


def test_what_cannot_be_created_yet_is_expected_and_tried_again_and_holds_the_others_up_no_longer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "curricula.yaml"
    path.write_text(MAZE + ZOO)
    engine = _Fake(Unavailable("away"), None, Unavailable("away"), Unavailable("away"))
    expected: list[set[str]] = []

    def until() -> bool:
        expected.append(set(engine.expected))
        return engine.created == ["zoo", "maze"]

    with capture_logs() as logs:
        follower = _follow(monkeypatch, path, engine, until)
    assert follower.settled.is_set()
    assert {"maze"} in expected
    assert engine.expected == set()
    assert [each["curriculum"] for each in logs if each["event"] == "waiting_to_create"] == ["maze"]


def test_a_curriculum_that_nothing_is_heard_of_holds_up_neither_the_others_nor_the_following(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As an actor that Ray has no room for."""
    monkeypatch.setattr(config_follower, "_PATIENCE_SECONDS", 0.05)
    path = tmp_path / "curricula.yaml"
    path.write_text(MAZE + ZOO)
    engine = _Fake()
    engine.silent = {"maze"}
    more = tmp_path / "more.yaml"
    more.write_text(MAZE + ZOO + ZOO.replace("zoo", "new"))

    def until() -> bool:
        if engine.created == ["zoo"] and more.exists():
            more.replace(path)  # at once, so that no half of it is read
        return "new" in engine.created

    with capture_logs() as logs:
        follower = _follow(monkeypatch, path, engine, until)
    assert follower.settled.is_set()
    assert engine.expected == {"maze"}
    assert [each["curriculum"] for each in logs if each["event"] == "waiting_to_create"] == ["maze"]


def test_an_unexpected_error_ends_neither_the_creation_of_the_others_nor_the_following(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "curricula.yaml"
    path.write_text(MAZE + ZOO)
    engine = _Fake(ZeroDivisionError("a bug"))
    loads = [OSError("a bug in the reading")]
    load = config_follower.load_config

    def faulty(path: Path) -> list:
        if engine.created and loads:
            raise loads.pop()
        return load(path)

    monkeypatch.setattr(config_follower, "load_config", faulty)

    def until() -> bool:
        if engine.created == ["zoo"] and loads:
            path.write_text(MAZE)
        elif not loads and engine.created == ["zoo"]:
            path.write_text(MAZE + "# once more\n")
        return engine.created == ["zoo", "maze"]

    with capture_logs() as logs:
        _follow(monkeypatch, path, engine, until)
    assert [each["event"] for each in logs if each["log_level"] == "error"] == [
        "config_not_taken",
        "config_look_failed",
    ]
    assert engine.expected == set()


def test_while_a_configured_curriculum_waits_for_its_database_the_service_listens_and_says_so(
    database: PostgresServer, tmp_path: Path
) -> None:
    url = database.create_database("configured_late")
    config = tmp_path / "curricula.yaml"
    config.write_text(MAZE)
    database.stop()
    is_back = False
    ask = pb.GetCurriculumRequest(curriculum="maze")
    ports = ("--health-listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0")
    try:
        with _starting(tmp_path, "--store", url, "--config", str(config), *ports) as (service, thread):
            _wait_for(service, "waiting_for_store")
            health = Target(_wait_for(service, "health_listening")[0]["address"], "")
            assert check(health, timeout=TIMEOUT) == "SERVING"
            assert check(health, service=SERVICE, timeout=TIMEOUT) == "NOT_SERVING"
            metrics = _wait_for(service, "metrics_listening")[0]["address"]
            assert scrape(metrics).value("syllabus_ready") == 0
            with service.stub() as stub, pytest.raises(grpc.RpcError) as refused:
                stub.GetCurriculum(ask, timeout=TIMEOUT)
            assert status(refused.value) == "UNAVAILABLE"
            database.start()
            is_back = True
            thread.join()
            with service.stub() as stub:
                assert stub.GetCurriculum(ask, timeout=TIMEOUT).curriculum.name == "maze"
            assert check(health, service=SERVICE, timeout=TIMEOUT) == "SERVING"
            assert scrape(metrics).value("syllabus_ready") == 1
            assert service.terminate() == 0
    finally:
        if not is_back:
            database.start()


def test_the_port_for_health_tells_health_and_nothing_else(
    start_service: Callable[..., ServiceProcess],
) -> None:
    service = start_service("--health-listen", "0.0.0.0:0")
    address = service.events("health_listening")[0]["address"].replace("0.0.0.0", "127.0.0.1")
    assert check(Target(address, ""), service=SERVICE, timeout=TIMEOUT) == "SERVING"
    with pytest.raises(grpc.RpcError) as unknown:
        check(Target(address, ""), service="nobody", timeout=TIMEOUT)
    assert status(unknown.value) == "NOT_FOUND"
    with grpc.insecure_channel(address) as channel:
        calls = [
            lambda: pb_grpc.CurriculumServiceStub(channel).ListCurricula(pb.ListCurriculaRequest(), timeout=TIMEOUT),
            lambda: list(health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=TIMEOUT)),
            lambda: list(
                reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(
                    iter([reflection_pb2.ServerReflectionRequest(list_services="")]), timeout=TIMEOUT
                )
            ),
        ]
        for call in calls:
            with pytest.raises(grpc.RpcError) as refused:
                call()
            assert status(refused.value) == "UNIMPLEMENTED"
    assert service.terminate() == 0


@pytest.mark.parametrize(("listen", "said"), [("unix:/tmp/x", "for health"), ("50052", "expected HOST:PORT")])
def test_a_port_for_health_that_is_none_is_refused_in_one_line(tmp_path: Path, listen: str, said: str) -> None:
    arguments = ["serve", "--log-level", "error", "--listen", f"unix:{tmp_path}/s", "--health-listen", listen]
    result = CliRunner().invoke(main, arguments)
    assert (result.exit_code, result.output.count("\n")) == (1, 1)
    assert said in result.output


def test_sighup_has_the_config_read_at_once_whether_it_has_changed_or_not(
    start_service: Callable[..., ServiceProcess], tmp_path: Path
) -> None:
    config = tmp_path / "curricula.yaml"
    config.write_text(MAZE)
    service = start_service("--config", str(config))
    os.kill(service.pid, signal.SIGHUP)
    _wait_for(service, "config_read_again")
    assert _names(service) == {"maze": 3}
