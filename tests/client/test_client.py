"""CurriculumClient against a real service process: calls that are applied once, readings, checkpoints, logging."""

from __future__ import annotations

import logging
import pickle
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from syllabus_client import (
    CurriculumClient,
    CurriculumExistsError,
    CurriculumNotFoundError,
    DiscreteTaskSpace,
    GymnasiumSyncWrapper,
    InvalidArgumentError,
    ServiceUnavailableError,
    TaskWrapper,
)
from tests.service_process import ServiceProcess


@pytest.fixture
def client(service: ServiceProcess) -> Iterator[CurriculumClient]:
    with CurriculumClient(service.target, curriculum="maze", timeout=20.0) as client:
        client.create("domain_randomization", DiscreteTaskSpace(["a", "b", "c", "d"]), seed=3)
        yield client


class Tensor:
    """A tensor of a library that this package does not know, as torch's look."""

    def __init__(self, values: Any) -> None:
        self._values = np.asarray(values, np.float32)

    def detach(self) -> Tensor:
        return self

    def cpu(self) -> Tensor:
        return self

    def numpy(self) -> np.ndarray:
        return self._values


def test_curricula_are_created_listed_and_deleted(client: CurriculumClient, service: ServiceProcess) -> None:
    assert client.get().spec.algorithm == "domain_randomization"
    assert [each.name for each in client.list()] == ["maze"]
    client.create("domain_randomization", DiscreteTaskSpace(["a", "b", "c", "d"]), seed=3, allow_existing=True)
    with pytest.raises(CurriculumExistsError, match="maze"):
        client.create("domain_randomization", DiscreteTaskSpace(5))
    client.delete()
    with pytest.raises(CurriculumNotFoundError, match=r"maze.*NOT_FOUND"):
        client.get()
    assert client.list() == []


def test_tasks_are_drawn_and_their_episodes_counted(client: CurriculumClient) -> None:
    assert set(client.sample(50)) == {"a", "b", "c", "d"}
    drawn = client.next_tasks(3)
    ids = [each.id for each in drawn]
    assert client.report_episodes(None, [1.0, 2.0, 3.0], [5, 6, 7], [0.0, 1.0, 1.0], assignment_ids=ids) == 0
    assert client.report_episodes(None, [1.0], [5], [0.0], assignment_ids=ids[:1]) == 1
    assert client.report_episodes(["b"] * 3, np.ones(3), np.ones(3, int), np.zeros(3)) == 0
    statistics = client.statistics()
    assert statistics.total.num_episodes.tolist() == [6]
    assert statistics.total.return_mean[0] == pytest.approx(1.5)
    assert client.statistics(["b"]).tasks.num_episodes[0] == 3 + [each.task for each in drawn].count("b")


def test_a_refusal_names_its_field_and_the_next_call_succeeds(client: CurriculumClient) -> None:
    with pytest.raises(InvalidArgumentError, match="finite") as refused:
        client.report_episodes(["a"], [np.nan], [1], [0.0])
    assert refused.value.field == "episodes.episode_return[0]"
    with pytest.raises(InvalidArgumentError, match="takes no custom update"):
        client.custom_update(values=np.ones(3))
    assert len(client.sample(2)) == 2


def test_a_change_is_applied_once_though_the_service_is_killed_around_it(
    client: CurriculumClient, service: ServiceProcess
) -> None:
    over = threading.Event()
    reported = 0

    def kill() -> None:
        for _ in range(3):
            time.sleep(0.05)
            service.restart()
        over.set()

    killer = threading.Thread(target=kill)
    killer.start()
    while not over.is_set():
        client.report_episodes(["c"], [1.0], [1], [1.0])
        reported += 1
    killer.join()
    assert client.statistics().total.num_episodes.tolist() == [reported]


def test_a_service_that_never_existed_is_named_within_the_deadline(tmp_path: Path) -> None:
    client = CurriculumClient(f"unix:{tmp_path}/nobody", curriculum="maze", timeout=0.3)
    for call in (client.get, lambda: client.custom_update(x=1), client.summary):
        with pytest.raises(ServiceUnavailableError, match=r"nobody.* within 0\.3 s|nobody.* within 1\.3 s") as caught:
            call()
        assert caught.value.target.endswith("nobody")
    client.close()


def test_what_is_missing_is_named_at_first_use(monkeypatch: pytest.MonkeyPatch, service: ServiceProcess) -> None:
    client = CurriculumClient()
    with pytest.raises(ValueError, match="SYLLABUS_TARGET"):
        client.get()
    monkeypatch.setenv("SYLLABUS_TARGET", service.target)
    with pytest.raises(ValueError, match="SYLLABUS_CURRICULUM"):
        client.get()
    monkeypatch.setenv("SYLLABUS_CURRICULUM", "nowhere")
    with client, pytest.raises(CurriculumNotFoundError, match="nowhere"):
        client.get()
    with pytest.raises(ValueError, match="host:port"):
        CurriculumClient("no address", curriculum="maze").get()


def test_a_client_can_be_pickled(client: CurriculumClient) -> None:
    client.get()
    with pickle.loads(pickle.dumps(client)) as copy:
        assert copy.sample(1)
    assert client.sample(1)


def test_an_attribute_that_does_not_exist_is_an_error(client: CurriculumClient) -> None:  # known failure 10
    with pytest.raises(AttributeError):
        client.no_such_method  # noqa: B018


def test_tensors_lists_and_plain_values_travel() -> None:  # known failure 17
    from syllabus_client.metric_values import split_metrics

    arrays, values = split_metrics(
        {
            "tensor": Tensor([1.0, 2.0]),
            "tensors": [Tensor(1.0), Tensor(2.0)],
            "list": [[1, 2], [3, 4]],
            "number": 3,
            "flag": True,
            "text": "x",
            "ragged": [[1], [2, 3]],
            "nested": {"a": np.float64(1.5), "b": [None, "y"]},
        }
    )
    assert arrays["tensor"].dtype == np.float32
    assert arrays["tensors"].tolist() == [1.0, 2.0]
    assert arrays["list"].shape == (2, 2)
    assert arrays["number"].dtype == np.int64
    assert values == {"flag": True, "text": "x", "ragged": [[1], [2, 3]], "nested": {"a": 1.5, "b": [None, "y"]}}
    with pytest.raises(TypeError, match="thing: expected"):
        split_metrics({"thing": object()})


def test_the_distribution_and_its_most_probable_tasks(client: CurriculumClient) -> None:
    assert client.distribution().tolist() == [0.25] * 4
    top = client.top_tasks(2)
    assert [probability for _, probability in top] == [0.25, 0.25]
    assert {task for task, _ in top} < {"a", "b", "c", "d"}


def test_a_checkpoint_takes_the_curriculum_back(client: CurriculumClient, tmp_path: Path) -> None:
    client.report_episodes(["a"], [1.0], [1], [1.0])
    client.save(tmp_path / "curriculum.ckpt")
    drawn = client.sample(5)
    client.report_episodes(["b"], [1.0], [1], [1.0])
    client.load(tmp_path / "curriculum.ckpt")
    assert client.statistics().total.num_episodes.tolist() == [1]
    assert client.sample(5) == drawn
    assert [path.name for path in tmp_path.iterdir() if "partial" in path.name] == []
    with pytest.raises(InvalidArgumentError):
        client.restore_checkpoint(b"not a checkpoint")


def test_a_watch_sends_summaries_until_it_is_closed(client: CurriculumClient) -> None:
    watch = client.watch(interval=0.1, top_n=2)
    first = next(watch)
    client.report_episodes(["a"], [1.0], [1], [1.0])
    seen = [next(watch) for _ in range(3)]
    watch.close()
    assert first.num_episodes == 0
    assert seen[-1].num_episodes == 1
    assert seen[-1].distribution is not None
    assert len(seen[-1].distribution.probabilities) == 2


class Board:
    """TensorBoard's writer, as far as it is used."""

    def __init__(self) -> None:
        self.scalars: dict[str, tuple[float, int | None]] = {}

    def add_scalar(self, tag: str, scalar_value: float, global_step: int | None = None) -> None:
        self.scalars[tag] = (scalar_value, global_step)


class Run:
    """A run of Weights & Biases, as far as it is used."""

    def __init__(self) -> None:
        self.logged: list[tuple[dict[str, float], int | None]] = []

    def log(self, data: dict[str, float], step: int | None = None) -> None:
        self.logged.append((data, step))


def test_metrics_are_written_to_every_kind_of_writer(client: CurriculumClient) -> None:  # known failures 15, 24
    client.report_episodes(["a", "b"], [1.0, 3.0], [1, 1], [1.0, 0.0])
    board, run, plain = Board(), Run(), {}
    client.log_metrics(board, step=7, log_n_tasks=2)
    assert board.scalars["curriculum/entropy"] == (pytest.approx(np.log(4)), 7)
    assert board.scalars["curriculum/success_rate"] == (0.5, 7)
    assert sum("probability/" in name for name in board.scalars) == 2
    client.log_metrics(run, step=8, log_n_tasks=-1)
    assert run.logged[0][1] == 8
    assert sum("probability/" in name for name in run.logged[0][0]) == 4
    client.log_metrics(plain, tasks=["b", "c"])
    assert plain["curriculum/probability/c"] == 0.25
    assert plain["curriculum/episodes"] == 2
    assert plain["curriculum/task_episodes/b"] == 1
    assert plain["curriculum/task_return_mean/b"] == 3.0
    assert plain["curriculum/task_success_rate/b"] == 0.0
    assert "curriculum/task_return_mean/c" not in plain  # no episode yet


def test_how_long_resets_waited_is_logged_as_the_environments_tell_it(client: CurriculumClient) -> None:
    assert "curriculum/reset_wait" not in client.log_metrics({})
    env = GymnasiumSyncWrapper(
        TaskWrapper(gym.make("CartPole-v1", max_episode_steps=3)), client.target.address, curriculum=client.name
    )
    for _ in range(3):
        env.reset()
        while not env.step(0)[3]:
            pass
    env.close()
    logged = client.log_metrics({})
    assert logged["curriculum/reset_wait"] > 0.0
    assert logged["curriculum/reset_wait_max"] >= logged["curriculum/reset_wait"]
    assert 0.0 < logged["curriculum/prefetch_miss_rate"] <= 1.0
    assert logged["curriculum/task_age_seconds"] >= 0.0


def test_logging_never_raises_and_says_once_why_not(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    client = CurriculumClient(f"unix:{tmp_path}/nobody", curriculum="maze", timeout=0.1)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert client.log_metrics(None) == {}
            assert client.log_metrics({}) == {}
    client.close()
    said = [record.message for record in caplog.records if "could not log" in record.message]
    assert sum("writer: expected a SummaryWriter" in text for text in said) == 1
    assert any("nobody" in text for text in said)
