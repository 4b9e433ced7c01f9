"""Prompts as tasks with torch's DataLoader, torchdata's StatefulDataLoader and torch.distributed."""

from __future__ import annotations

import itertools
import re
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.multiprocessing
from torch.utils.data import DataLoader
from torchdata.stateful_dataloader import StatefulDataLoader

from examples import prompts_grpo, prompts_trl
from examples.prompts_products import Products
from syllabus_client import CurriculumClient, CurriculumSampler, DiscreteTaskSpace
from tests.libraries.ledger import kept_curricula
from tests.service_process import ServiceProcess

SIZES = {"num_samples": 24, "batch_size": 4, "group_size": 3}


@pytest.fixture
def learner(service: ServiceProcess) -> Iterator[CurriculumClient]:
    with CurriculumClient(service.target, curriculum="prompts") as client:
        client.create("online_learning_progress", DiscreteTaskSpace(400), seed=1)
        yield client


def sampler_of(learner: CurriculumClient, **arguments: object) -> CurriculumSampler:
    return CurriculumSampler(learner.target.address, curriculum="prompts", **{**SIZES, **arguments})


def reward_of(rows: dict[str, torch.Tensor]) -> torch.Tensor:
    return (rows["answer"] % 7 + rows["index"] % 2).float()


def check_ledger(learner: CurriculumClient, indices: list[int], rewards: list[float]) -> None:
    """The service counted each rollout once, with its reward; every prompt's assignment has ended."""
    assert learner.summary().num_open_assignments == learner.summary().num_rejected == 0
    tasks = learner.statistics().tasks
    np.testing.assert_array_equal(np.bincount(indices, minlength=400)[tasks.tasks], tasks.num_episodes)
    assert tasks.num_episodes.sum() == len(indices)
    np.testing.assert_allclose(np.bincount(indices, rewards, 400)[tasks.tasks], tasks.num_episodes * tasks.return_mean)


def check_the_examples_ledger(curriculum: CurriculumClient, rewards: list[float]) -> None:
    """As many rollouts as the trainer ran, with its rewards, of several prompts; none is under way."""
    statistics, summary = curriculum.statistics(), curriculum.summary()
    assert statistics.total.num_episodes.tolist() == [len(rewards)]
    assert statistics.total.return_mean[0] * len(rewards) == pytest.approx(sum(rewards))
    assert len(statistics.tasks.tasks) > 50
    assert summary.num_open_assignments == summary.num_rejected == 0


def test_grpo_learns_and_each_rollout_is_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with kept_curricula(prompts_grpo, monkeypatch) as kept:
        rewards = prompts_grpo.main(prompts_grpo.parse(["--steps", "100"]))
        check_the_examples_ledger(kept[0], rewards)
    assert sum(rewards[-2560:]) > 3 * sum(rewards[:2560])


def test_trls_trainer_runs_what_the_curriculum_draws_and_each_rollout_is_counted_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drawn = []

    class Watched(CurriculumSampler):
        def report(self, indices: list[int], rewards: list[float]) -> None:
            drawn.append(kept[0].summary().num_assignments // 8)
            super().report(indices, rewards)

    monkeypatch.setattr(prompts_trl, "CurriculumSampler", Watched)
    with kept_curricula(prompts_trl, monkeypatch) as kept:
        rewards, log = prompts_trl.main(prompts_trl.parse(["--steps", "16"]))
        check_the_examples_ledger(kept[0], rewards)
    assert len(rewards) == 16 * 64  # and not those of the evaluation
    # accelerate has the next batch before it hands out one, but for the last of an epoch, which has 12: prompts are
    # drawn before the batch that comes before theirs is reported.
    assert drawn == [step if step == 12 else step + 1 for step in range(1, 17)]
    assert np.mean([entry["reward"] for entry in log]) == pytest.approx(np.mean(rewards), abs=1e-6)


@pytest.mark.parametrize("workers", [{"num_workers": 0}, {"num_workers": 2, "multiprocessing_context": "fork"}])
def test_a_data_loader_of_any_number_of_workers_loads_what_the_curriculum_draws(
    learner: CurriculumClient, workers: dict[str, object]
) -> None:
    indices, rewards = [], []
    with sampler_of(learner) as sampler:
        loader = DataLoader(Products(), batch_size=12, sampler=sampler, **workers)
        assert len(loader) == 6
        for rows in loader:
            sampler.report(rows["index"], reward_of(rows))
            indices += rows["index"].tolist()
            rewards += reward_of(rows).tolist()
        sampler.flush()
        check_ledger(learner, indices, rewards)
    assert len(indices) == 72
    assert len(set(indices)) > 10


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_stateful_data_loader_goes_on_in_the_middle_of_an_epoch(learner: CurriculumClient, num_workers: int) -> None:
    def loader_of(sampler: CurriculumSampler) -> StatefulDataLoader:
        return StatefulDataLoader(Products(), batch_size=6, sampler=sampler, num_workers=num_workers)

    with sampler_of(learner) as sampler:
        loader = loader_of(sampler)
        batches = iter(loader)
        for _ in range(5):  # the fifth is half of a draw of four groups of three
            rows = next(batches)
            sampler.report(rows["index"], reward_of(rows))
        state = loader.state_dict()
        del batches, loader
    with sampler_of(learner) as sampler:
        loader = loader_of(sampler)
        loader.load_state_dict(state)
        sizes = [len(rows["index"]) for rows in loader]
        assert sizes == [6] * (len(loader) - 5)
        assert [len(rows["index"]) for rows in loader] == [6] * len(loader)


def verl_sampler_of_the_docs(monkeypatch: pytest.MonkeyPatch) -> type[CurriculumSampler]:
    """The class on the page, with no more of verl than the interface that it is written to."""

    class AbstractCurriculumSampler(torch.utils.data.Sampler[int]):
        """As in verl.experimental.dataset.sampler: made of data and configuration, and told of each batch."""

        def __init__(self, data_source: object, data_config: object) -> None:
            raise NotImplementedError

        def update(self, batch: object) -> None:
            raise NotImplementedError

    for name in ("verl", "verl.experimental", "verl.experimental.dataset"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    module = types.ModuleType("verl.experimental.dataset.sampler")
    module.AbstractCurriculumSampler = AbstractCurriculumSampler
    monkeypatch.setitem(sys.modules, module.__name__, module)
    page = (Path(__file__).parents[2] / "docs/libraries.md").read_text()
    (block,) = re.findall(
        r"^```python notrun\n(from syllabus_client.*?class VerlSampler.*?)^```", page, re.DOTALL | re.M
    )
    names: dict[str, type[CurriculumSampler]] = {}
    exec(block, names)
    return names["VerlSampler"]


def test_the_sampler_for_verl_draws_prompts_once_and_is_told_every_rollout_of_a_batch(
    learner: CurriculumClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SYLLABUS_TARGET", learner.target.address)
    monkeypatch.setenv("SYLLABUS_CURRICULUM", "prompts")
    sampler = verl_sampler_of_the_docs(monkeypatch)(Products(), types.SimpleNamespace(train_batch_size=5))
    with sampler:
        for rows in itertools.islice(DataLoader(Products(), batch_size=5, sampler=sampler), 2):
            # What the trainer makes of it: each prompt 8 times, the score on the last token, rows as objects.
            index = np.repeat(rows["index"].numpy(), 8).astype(object)
            scores = torch.zeros(40, 6)
            scores[:, -1] = torch.arange(40) % 2
            sampler.update(
                batch=types.SimpleNamespace(non_tensor_batch={"index": index}, batch={"token_level_scores": scores})
            )
        sampler.flush()
        assert learner.summary().num_assignments == 10
        assert learner.summary().num_open_assignments == 0
        statistics = learner.statistics()
        assert statistics.total.num_episodes.tolist() == [80]
        assert statistics.total.return_mean.tolist() == [0.5]
        assert (statistics.tasks.num_episodes % 8 == 0).all()


def rank(number: int, world: int, directory: str, target: str) -> None:
    """One rank of a data-parallel trainer that cuts up one stream of indices, as accelerate does."""
    torch.distributed.init_process_group("gloo", f"file://{directory}/ranks", rank=number, world_size=world)
    dataset, seen = Products(), []
    with CurriculumSampler(target, curriculum="prompts", **SIZES, distributed=True) as sampler:
        stream = iter(sampler)
        for _ in range(len(sampler) // 12):
            mine = [next(stream) for _ in range(12)][number * 6 : (number + 1) * 6]
            rewards = [float(dataset.answers[index] % 7 + index % 2) for index in mine]
            sampler.report(mine, rewards)
            seen += zip(mine, rewards, strict=True)
        sampler.flush()
        torch.distributed.barrier()
    torch.save(seen, f"{directory}/{number}")
    torch.distributed.destroy_process_group()


class Unpicklable(Exception):
    """What no other process can be handed."""

    def __init__(self, one: str, two: str) -> None:
        super().__init__(one)


def failing_rank(number: int, world: int, directory: str, target: str) -> None:
    """One rank, of which the second has a bad reward, and later the first one a draw that fails."""
    torch.distributed.init_process_group("gloo", f"file://{directory}/ranks", rank=number, world_size=world)
    said = []
    with CurriculumSampler(target, curriculum="prompts", **SIZES, distributed=True) as sampler:
        stream = iter(sampler)
        rows = [next(stream) for _ in range(12)]
        try:
            sampler.report(rows, [float("nan") if number == 1 else 1.0] * 12)
        except ValueError as error:
            said.append(f"{error}; {error.__notes__[0]}")
        sampler.report(rows[number * 6 : (number + 1) * 6], [1.0] * 6)  # they go on together
        sampler.flush()

        def fail() -> list[int]:
            raise Unpicklable("no prompts", "today")

        sampler._draw = fail  # of which only the first rank's is called
        try:
            next(stream)
        except (Unpicklable, RuntimeError) as error:
            said.append(str(error))
        torch.distributed.barrier()
    torch.save(said, f"{directory}/{number}")
    torch.distributed.destroy_process_group()


def test_what_one_rank_raises_is_raised_in_all_of_them(learner: CurriculumClient, tmp_path: Path) -> None:
    arguments = (2, str(tmp_path), learner.target.address)
    torch.multiprocessing.start_processes(failing_rank, arguments, nprocs=2, start_method="fork")
    first, second = (torch.load(tmp_path / str(number)) for number in range(2))
    assert first[0] == second[0] == "rewards: expected finite numbers; in rank 1 of the trainer"
    assert first[1] == "no prompts"
    assert second[1] == "Unpicklable: no prompts"
    assert learner.summary().num_episodes == 12


def test_ranks_that_share_a_stream_see_the_same_one_and_report_as_one(
    learner: CurriculumClient, tmp_path: Path
) -> None:
    arguments = (2, str(tmp_path), learner.target.address)
    torch.multiprocessing.start_processes(rank, arguments, nprocs=2, start_method="fork")
    seen = [pair for number in range(2) for pair in torch.load(tmp_path / str(number))]
    indices, rewards = zip(*seen, strict=True)
    assert learner.summary().num_assignments == 24
    check_ledger(learner, list(indices), list(rewards))
