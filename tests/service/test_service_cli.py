"""The command line and curricula.yaml: what they take, and the one line that they say about what they don't."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog
from click.testing import CliRunner
from structlog.testing import capture_logs

from syllabus_client.task_spaces import TaskSpace
from syllabus_client.wire import curriculum_pb2 as pb
from syllabus_service.cli import main
from syllabus_service.config import ConfigError, load_config
from syllabus_service.store import SqliteStore
from tests.service.serving import TIMEOUT, serving


@pytest.fixture(autouse=True)
def _logs_as_before() -> Iterator[None]:
    """The command line sets up this process's logs."""
    yield
    structlog.reset_defaults()


def _write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def _spaces(tmp_path: Path, task_space: str) -> TaskSpace:
    text = f"curricula:\n  maze:\n    algorithm: domain_randomization\n    task_space: {task_space}\n"
    configured = load_config(_write(tmp_path / "curricula.yaml", text))
    return TaskSpace.from_proto(configured[0].spec.task_space)


def test_a_curriculum_is_read_with_all_that_it_may_say(tmp_path: Path) -> None:
    configured = load_config(
        _write(
            tmp_path / "curricula.yaml",
            """
curricula:
  maze-run-7:
    algorithm: constant
    params: {default_task: 3}
    task_space: 5
    seed: 18446744073709551615
    lease_seconds: 2.5
  other:
    algorithm: domain_randomization
    task_space: [easy, hard]
""",
        )
    )
    assert [each.name for each in configured] == ["maze-run-7", "other"]
    first = configured[0].spec
    assert (first.algorithm, dict(first.params), first.seed) == ("constant", {"default_task": 3.0}, 2**64 - 1)
    assert first.lease.ToMilliseconds() == 2500
    assert list(configured[1].spec.task_space.discrete.json_tasks) == ['"easy"', '"hard"']


@pytest.mark.parametrize(
    ("text", "num_tasks", "shape"),
    [
        ("7", 7, ()),
        ("[a, b, [1, 2]]", 3, ()),
        ("{discrete: {num_tasks: 4, start: 10}}", 4, ()),
        ("{discrete: {tasks: [x, y]}, task_names: [ex, why]}", 2, ()),
        ("{multi_discrete: {components: [2, [a, b, c]]}}", 6, ()),
        ("{multi_discrete: {components: [2, 3], encoding: tuple}}", 6, (2,)),
        ("{box: {low: [0, 0], high: [1, 2.5]}}", None, (2,)),
        ("{box: {low: 0, high: 1, shape: [3]}}", None, (3,)),
        ("{tuple: {components: [2, {box: {low: [0], high: [1]}}]}}", None, (2,)),
        ("{stratified_discrete: {tasks: 4, strata: [0, 0, 1, 1]}}", 4, ()),
    ],
)
def test_every_kind_of_task_space_can_be_written(
    tmp_path: Path, text: str, num_tasks: int | None, shape: tuple
) -> None:
    space = _spaces(tmp_path, text)
    assert (space.num_tasks, space.encoded_shape) == (num_tasks, shape)


_MAZE = "curricula:\n  maze:\n    algorithm: domain_randomization\n"


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("curricula: [", 1, "not YAML"),
        ("curricula:\n  - maze", 1, "curricula: Input should be a valid dictionary"),
        ("curriculum: {}", 1, "curriculum: Extra inputs"),
        (_MAZE, 2, "curricula.maze.task_space: Field required"),
        (_MAZE + "    task_space: 3\n    colour: red\n", 5, "curricula.maze.colour: Extra inputs"),
        (_MAZE + "    task_space: many\n", 4, "curricula.maze.task_space"),
        (_MAZE + "    task_space: 0\n", 4, "curricula.maze.task_space"),
        (_MAZE + "    task_space: {}\n", 4, "expected one of discrete"),
        (_MAZE + "    task_space: {discrete: {}}\n", 4, "either num_tasks or tasks"),
        (_MAZE + "    task_space:\n      discrete:\n        size: 3\n", 6, "discrete.size: Extra inputs"),
        (_MAZE + "    task_space: [a, a]\n", 2, "curricula.maze.task_space"),
        (_MAZE + "    task_space: 3\n    seed: -1\n", 5, "curricula.maze.seed"),
        (_MAZE + "    task_space: 3\n    lease_seconds: 0\n", 5, "curricula.maze.lease_seconds"),
        (_MAZE + "    task_space: 3\n    params: {colour: red}\n", 2, "params"),
        (_MAZE + "    task_space: 3\n    params: {when: 2026-11-22}\n", 5, "curricula.maze.params.when"),
        (_MAZE + "    task_space: 3\n  maze:\n    task_space: 4\n", 5, "curricula.maze: is there twice"),
        ("curricula:\n  maze:\n    algorithm: nope\n    task_space: 3\n", 2, "algorithm"),
        ("curricula:\n  a/b:\n    algorithm: constant\n    task_space: 3\n", 2, "a/b"),
    ],
)
def test_what_the_file_should_not_say_is_named_with_its_line_and_key(
    tmp_path: Path, text: str, line: int, message: str
) -> None:
    path = _write(tmp_path / "curricula.yaml", text)
    with pytest.raises(ConfigError) as refused:
        load_config(path)
    assert str(refused.value).startswith(f"{path}:{line}: ")
    assert message in str(refused.value)


def test_an_empty_file_names_no_curricula(tmp_path: Path) -> None:
    assert load_config(_write(tmp_path / "curricula.yaml", "# nothing yet\n")) == []


def test_configured_curricula_are_served_and_found_again(start_service: Callable, tmp_path: Path) -> None:
    config = _write(tmp_path / "curricula.yaml", _MAZE + "    task_space: 3\n")
    service = start_service("--config", str(config))
    ask = pb.GetCurriculumRequest(curriculum="maze")
    with service.stub() as stub:
        first = stub.GetCurriculum(ask, timeout=TIMEOUT).curriculum
    service.restart()
    with service.stub() as stub:
        assert stub.GetCurriculum(ask, timeout=TIMEOUT).curriculum == first


def _refused(*arguments: str) -> str:
    """What ``serve`` says when it does not start: one line, and nothing else."""
    result = CliRunner().invoke(main, ["serve", "--log-level", "error", *arguments])
    assert result.exit_code == 1
    assert result.output.startswith("Error: ")
    assert result.output.count("\n") == 1
    return result.output


def test_a_data_directory_in_use_is_refused_in_one_line(tmp_path: Path) -> None:
    with SqliteStore(tmp_path / "data"):
        said = _refused("--data-dir", str(tmp_path / "data"), "--listen", f"unix:{tmp_path}/s")
    assert "in use by process" in said


def test_a_data_directory_that_cannot_be_made_is_refused_in_one_line(tmp_path: Path) -> None:
    _write(tmp_path / "file", "")
    assert "file" in _refused("--data-dir", str(tmp_path / "file" / "data"), "--listen", f"unix:{tmp_path}/s")


def test_a_busy_port_is_refused_in_one_line() -> None:
    with serving() as server:
        assert "taken" in _refused("--listen", server.address)


def test_an_open_address_is_refused_in_one_line() -> None:
    assert "without TLS" in _refused("--listen", "0.0.0.0:0")


def test_a_bad_file_is_refused_in_one_line(tmp_path: Path) -> None:
    config = _write(tmp_path / "curricula.yaml", _MAZE)
    assert f"{config}:2" in _refused("--config", str(config), "--listen", f"unix:{tmp_path}/s")


def test_a_store_may_be_given_by_its_url_and_a_wrong_one_is_refused_in_one_line(
    start_service: Callable, tmp_path: Path
) -> None:
    with SqliteStore(tmp_path / "data") as store, serving(store) as server:
        server.create("maze")
    service = start_service("--store", f"sqlite:///{tmp_path}/data", data_dir=None)
    with service.stub() as stub:
        assert stub.GetCurriculum(pb.GetCurriculumRequest(curriculum="maze"), timeout=TIMEOUT).curriculum.position == 0
    assert "expected sqlite" in _refused("--store", "nosuch://x", "--listen", f"unix:{tmp_path}/t")


def test_two_places_to_keep_curricula_are_a_wrong_usage(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["serve", "--store", "memory:", "--data-dir", str(tmp_path)])
    assert result.exit_code == 2
    assert "exclude each other" in result.output


def test_a_certificate_without_its_key_is_a_wrong_usage() -> None:
    result = CliRunner().invoke(main, ["serve", "--tls-cert", "cert.pem"])
    assert result.exit_code == 2
    assert "--tls-key" in result.output


def test_help_and_version_are_told() -> None:
    assert "--durability" in CliRunner().invoke(main, ["serve", "--help"]).output
    assert CliRunner().invoke(main, ["--version"]).output.startswith("syllabus-service, version ")


def _run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, arguments)
    return result.exit_code, result.output


def test_an_operator_creates_lists_describes_and_deletes_curricula(tmp_path: Path) -> None:
    config = _write(tmp_path / "curricula.yaml", _MAZE + "    task_space: 3\n")
    with capture_logs(), serving() as server:  # whose log would be among what the command says
        target = ("--target", server.address)
        assert _run("create", str(config), *target) == (0, "maze\n")
        assert _run("ls", *target) == (0, "maze\tdomain_randomization\t0\n")
        code, described = _run("describe", "maze", *target)
        assert code == 0
        assert '"algorithm": "domain_randomization"' in described
        code, said = _run("create", str(config), *target)
        assert (code, "ALREADY_EXISTS" in said) == (1, True)
        assert _run("create", str(config), "--allow-existing", *target)[0] == 0
        assert _run("delete", "maze", *target) == (0, "")
        code, said = _run("describe", "maze", *target)
        assert (code, said.count("\n"), "NOT_FOUND" in said) == (1, 1, True)


def test_an_operator_is_told_in_one_line_that_there_is_no_service(tmp_path: Path) -> None:
    code, said = _run("ls", "--target", f"unix:{tmp_path}/nobody", "--timeout", "0.5")
    assert (code, said.count("\n")) == (1, 1)
    assert f"unix:{tmp_path}/nobody" in said
