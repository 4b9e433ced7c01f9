"""The embedded service's process: how it starts, and that it never stays behind."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from syllabus_client.task_spaces import DiscreteTaskSpace
from syllabus_service.curricula import Curriculum, create
from syllabus_service.embedded_process import EmbeddedProcess, EmbeddedServiceError
from tests.embedded.processes import SERVE, directory_of, has_ended, start_script


def uniform() -> Curriculum:
    return create("domain_randomization", DiscreteTaskSpace(4), seed=1)


@contextmanager
def script(source: str, **kwargs: Any) -> Iterator[tuple[subprocess.Popen, int, Path]]:
    """A running program that has started a service: its process, the service's pid and directory."""
    process = start_script(SERVE + textwrap.dedent(source), **kwargs)
    try:
        pid, address = process.stdout.readline().split()  # type: ignore[union-attr]
        yield process, int(pid), directory_of(address)
    finally:
        process.kill()
        process.communicate()


def test_stopping_it_leaves_no_process_and_no_directory() -> None:
    service = EmbeddedProcess(uniform(), name="curriculum")
    directory = directory_of(service.address)
    assert service.is_running
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    service.stop()
    service.stop()
    assert not service.is_running
    assert not directory.exists()


def test_a_curriculum_class_of_the_main_module_is_served_without_a_main_guard_and_gone_after_exit() -> None:
    with script("serve()") as (process, pid, directory):
        assert process.wait(30) == 0
        assert has_ended(pid)
        assert not directory.exists()


def test_it_ends_when_its_parent_is_killed() -> None:
    with script("serve(); time.sleep(600)") as (process, pid, directory):
        process.kill()
        process.wait()
        assert has_ended(pid)
        assert not directory.exists()


def test_a_forked_child_that_outlives_the_parent_does_not_keep_it_alive() -> None:
    source = """
    serve()
    child = os.fork()
    if child == 0:
        time.sleep(600)
        os._exit(0)
    print(child, flush=True)
    time.sleep(600)
    """
    with script(source) as (process, pid, directory):
        child = int(process.stdout.readline())  # type: ignore[union-attr]
        try:
            process.kill()
            process.wait()
            assert has_ended(pid)
            assert not directory.exists()
        finally:
            os.kill(child, signal.SIGKILL)


def test_it_outlives_the_thread_that_started_it() -> None:
    source = """
    started = []
    thread = threading.Thread(target=lambda: started.append(serve()))
    thread.start()
    thread.join()
    time.sleep(0.5)
    print(started[0].is_running, flush=True)
    """
    with script(source) as (process, pid, _):
        assert process.stdout.readline() == "True\n"  # type: ignore[union-attr]
        assert process.wait(30) == 0
        assert has_ended(pid)


def test_a_ctrl_c_in_the_terminal_ends_the_program_and_not_the_service_before_it() -> None:
    source = """
    process = serve()
    try:
        time.sleep(600)
    except KeyboardInterrupt:
        time.sleep(0.5)
        print(process.is_running, flush=True)
    """
    with script(source, start_new_session=True) as (process, pid, _):
        os.killpg(process.pid, signal.SIGINT)
        assert process.stdout.readline() == "True\n"  # type: ignore[union-attr]
        assert process.wait(30) == 0
        assert has_ended(pid)


def test_no_signal_handler_of_the_program_is_touched_in_any_thread() -> None:
    def handlers() -> dict[int, Any]:
        return {number: signal.getsignal(number) for number in signal.valid_signals()}

    before = handlers()
    errors: list[BaseException] = []

    def run() -> None:
        try:
            EmbeddedProcess(uniform(), name="curriculum").stop()
        except BaseException as error:  # noqa: BLE001
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert errors == []
    assert handlers() == before


def test_stopping_it_in_a_forked_child_does_nothing() -> None:
    service = EmbeddedProcess(uniform(), name="curriculum")
    try:
        child = os.fork()
        if child == 0:
            service.stop()
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        assert service.is_running
    finally:
        service.stop()


def test_it_imports_what_the_parent_can(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = """
    from syllabus_service.curricula import Curriculum

    class Elsewhere(Curriculum):
        def _draw(self, k):
            return self.rng.integers(0, 4, size=k)
    """
    (tmp_path / "curriculum_from_elsewhere.py").write_text(textwrap.dedent(source))
    monkeypatch.syspath_prepend(tmp_path)
    import curriculum_from_elsewhere

    EmbeddedProcess(curriculum_from_elsewhere.Elsewhere(DiscreteTaskSpace(4)), name="curriculum").stop()
    del sys.modules["curriculum_from_elsewhere"]


class BreaksOnArrival(Curriculum):
    """Cannot be unpickled."""

    def __reduce__(self) -> Any:
        return int, ("not a number",)


class DiesOnArrival(Curriculum):
    """Takes the process down with it."""

    def __reduce__(self) -> Any:
        return os._exit, (3,)


def test_a_service_that_cannot_start_raises_its_traceback_in_the_caller_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(EmbeddedServiceError, match="invalid literal for int"):
        EmbeddedProcess(BreaksOnArrival(DiscreteTaskSpace(4)), name="curriculum")
    with pytest.raises(EmbeddedServiceError, match="exit code 3"):
        EmbeddedProcess(DiesOnArrival(DiscreteTaskSpace(4)), name="curriculum")
    assert list(tmp_path.iterdir()) == []


class NeverArrives(Curriculum):
    """Takes too long."""

    def __reduce__(self) -> Any:
        from time import sleep

        return sleep, (600,)


def test_a_service_that_is_not_ready_in_time_is_ended() -> None:
    with pytest.raises(TimeoutError, match="not ready in time"):
        EmbeddedProcess(NeverArrives(DiscreteTaskSpace(4)), name="curriculum", timeout=0.2)


def test_a_temporary_directory_too_long_for_a_socket_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / ("d" * 120)
    deep.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(deep))
    service = EmbeddedProcess(uniform(), name="curriculum")
    service.stop()
    assert not service.address.startswith(f"unix:{deep}")
    assert list(deep.iterdir()) == []


@pytest.mark.parametrize("lease", [0.0, -1.0])
def test_a_lease_that_is_not_positive_is_refused(lease: float) -> None:
    with pytest.raises(ValueError, match="lease"):
        EmbeddedProcess(uniform(), name="curriculum", lease=lease)
