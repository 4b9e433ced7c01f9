"""``syllabus-service replay``: a journal applied again gives what the service had, at any command."""

from __future__ import annotations

import json
import sqlite3

import numpy as np
import pytest
from click.testing import CliRunner

from syllabus_client import CurriculumClient, DiscreteTaskSpace
from syllabus_client.wire import curriculum_pb2 as pb
from syllabus_service.cli import main
from syllabus_service.host import CurriculumHost
from syllabus_service.offline import _spec
from syllabus_service.replay import replay
from syllabus_service.specs import build_curriculum
from syllabus_service.store import SqliteStore
from syllabus_service.store.sqlite import DATABASE_NAME
from tests.host.curricula import Notebook
from tests.host.driving import Driver, episodes


@pytest.fixture
def data_dir(start_service, tmp_path):
    """Of a service that learned from 30 episodes and was killed."""
    service = start_service()
    with CurriculumClient(service.target, curriculum="c") as client:
        client.create("online_learning_progress", DiscreteTaskSpace(5), {"update_interval": 10}, seed=3)
        rng = np.random.default_rng(0)
        for _ in range(10):
            tasks = [assignment.task for assignment in client.next_tasks(3)]
            client.report_episodes(tasks, rng.normal(size=3), [7, 8, 9], progress=rng.integers(0, 2, 3).astype(float))
        client.distribution()
    service.kill()
    return tmp_path / "data"


def run(*arguments: object) -> tuple[int, str]:
    """Run the command line: exit code and output."""
    result = CliRunner().invoke(main, ["replay", *map(str, arguments)])
    return result.exit_code, result.output


def summary(output: str) -> dict:
    """The first JSON object that the command printed."""
    return json.JSONDecoder().raw_decode(output)[0]


def test_a_replay_ends_where_the_service_was(data_dir):
    code, output = run("--data-dir", data_dir, "--curriculum", "c")
    assert code == 0, output
    found = summary(output)
    assert found["position"] == "20"
    assert found["num_episodes"] == "30"
    assert found["num_steps"] == str(10 * (7 + 8 + 9))


def test_a_replay_stops_at_the_command_asked_for(data_dir):
    code, output = run("--data-dir", data_dir, "--curriculum", "c", "--until", 5)
    assert code == 0, output
    assert summary(output)["position"] == "5"
    assert summary(output)["num_episodes"] == "6"
    code, output = run("--data-dir", data_dir, "--curriculum", "c", "--until", 21)
    assert code == 1
    assert "expected 0 to 20" in output


def test_snapshots_are_verified_and_a_wrong_one_is_found(data_dir):
    with SqliteStore(data_dir) as store:
        spec = _spec(store, "c")
        state = replay(store, "c", lambda: CurriculumHost(build_curriculum(spec, may_import=bool)), 12).snapshot()
        store.save_snapshot("c", 12, state)
    code, output = run("--data-dir", data_dir, "--curriculum", "c", "--verify")
    assert (code, "snapshot 12: equal to a replay from 0" in output) == (0, True), output
    with SqliteStore(data_dir) as store:
        other = replay(store, "c", lambda: CurriculumHost(build_curriculum(spec, may_import=bool)), 11)
        other._state.position = 12
        store.save_snapshot("c", 12, other.snapshot())
    code, output = run("--data-dir", data_dir, "--curriculum", "c", "--verify")
    assert (code, "snapshot 12: DIFFERENT" in output) == (1, True), output


def test_a_damaged_journal_is_said_so(data_dir):
    with sqlite3.connect(data_dir / DATABASE_NAME) as connection:
        connection.execute("UPDATE journal SET record = x'00' WHERE position = 7")
    code, output = run("--data-dir", data_dir, "--curriculum", "c")
    assert code == 1
    assert "record 7 is damaged" in output


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--curriculum", "c"], "expected --data-dir or --store"),
        (["--store", "memory:", "--curriculum", "c"], "no curriculum 'c'"),
        (["--store", "memory:", "--curriculum", "c", "--verify", "--until", "1"], "exclude each other"),
    ],
)
def test_wrong_use_is_said_in_one_line(arguments, says):
    code, output = run(*arguments)
    assert code != 0
    assert says in output
    assert "Traceback" not in output


def test_a_replay_of_a_directory_without_a_store_says_so_and_makes_none(tmp_path):
    for arguments in (["--data-dir", tmp_path], ["--store", f"sqlite:///{tmp_path}"]):
        code, output = run(*arguments, "--curriculum", "c")
        assert (code, output) == (1, f"Error: {tmp_path}: there is no syllabus.sqlite3\n")
    assert list(tmp_path.iterdir()) == []


def test_a_replay_starts_at_the_newest_snapshot_that_is_not_behind(tmp_path):
    space = DiscreteTaskSpace(9)
    host = CurriculumHost(Notebook(space))
    worker = Driver(host)
    with SqliteStore(tmp_path / "d") as store:
        store.create_curriculum("c", 1, pb.CurriculumSpec().SerializeToString())
        for turn in range(6):
            ids, _ = worker.draw(2)
            worker.send(episodes=episodes(ids))
            store.append("c", 2 * turn + 1, worker.records)
            worker.records = []
            if turn in (1, 3):
                store.save_snapshot("c", host.position, host.snapshot())
        store.trim("c", 12, keep_snapshots=1)
        assert replay(store, "c", lambda: CurriculumHost(Notebook(space))).snapshot() == host.snapshot()
        with pytest.raises(ValueError, match="no longer reaches back"):
            replay(store, "c", lambda: CurriculumHost(Notebook(space)), 3)
