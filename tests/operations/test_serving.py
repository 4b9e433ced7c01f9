"""A service process while it starts without its database, and while its config changes."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest
import structlog
from click.testing import CliRunner

from syllabus_client.target import Target
from syllabus_client.wire import curriculum_pb2 as pb
from syllabus_service.cli import main
from syllabus_service.probe import check
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


def test_sighup_has_the_config_read_at_once_whether_it_has_changed_or_not(
    start_service: Callable[..., ServiceProcess], tmp_path: Path
) -> None:
    config = tmp_path / "curricula.yaml"
    config.write_text(MAZE)
    service = start_service("--config", str(config))
    os.kill(service.pid, signal.SIGHUP)
    _wait_for(service, "config_read_again")
    assert _names(service) == {"maze": 3}
