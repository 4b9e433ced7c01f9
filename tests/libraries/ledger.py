"""The ledger of a library: what it says of its episodes is what the service counted, each once."""

from __future__ import annotations

import csv
import pickle
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from syllabus_client import CurriculumClient, make_multiprocessing_curriculum


@contextmanager
def kept_curricula(module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[CurriculumClient]]:
    """The curricula that an example makes, served until here, though the example closes its handles."""
    kept: list[CurriculumClient] = []

    def make(curriculum):  # type: ignore[no-untyped-def]
        handle, *queues = make_multiprocessing_curriculum(curriculum)
        kept.append(handle)
        return pickle.loads(pickle.dumps(handle)), *queues  # closing a copy ends nothing

    with monkeypatch.context() as patch:
        patch.setattr(module, "make_multiprocessing_curriculum", make)
        try:
            yield kept
        finally:
            for handle in kept:
                handle.close()


def check_ledger(curriculum: CurriculumClient, episode_returns: Sequence[float]) -> None:
    """The service counted these episodes, each once; it has handed out several tasks, and all of them came back."""
    check_totals(curriculum, len(episode_returns), float(np.sum(episode_returns)), float(np.std(episode_returns)))


def check_totals(curriculum: CurriculumClient, count: int, total: float, spread: float) -> None:
    """``check_ledger``, of a library that tells no single returns: their number, sum and standard deviation."""
    check_returns(curriculum, count, total, spread)
    summary = curriculum.summary()
    assert summary.num_assignments == summary.num_episodes + summary.num_abandoned
    assert summary.num_rejected == 0


def check_returns(curriculum: CurriculumClient, count: int, total: float, spread: float) -> None:
    """``check_totals`` of a curriculum that has gone back to a checkpoint: its assignments are this service's."""
    statistics, summary = curriculum.statistics(), curriculum.summary()
    assert count > 0
    assert statistics.total.num_episodes.tolist() == [count]
    assert statistics.tasks.num_episodes.sum() == count
    np.testing.assert_allclose(statistics.total.return_mean * count, total, rtol=1e-5)
    np.testing.assert_allclose(statistics.total.return_std, spread, rtol=1e-4, atol=1e-6)
    assert len(statistics.tasks.tasks) > 1
    assert summary.num_open_assignments == 0
    assert summary.num_curriculum_errors == 0


def monitored_returns(path: Path) -> list[float]:
    """The returns in a file of Stable Baselines 3's Monitor or VecMonitor."""
    with path.open() as file:
        file.readline()  # what the file is of
        return [float(row["r"]) for row in csv.DictReader(file)]
