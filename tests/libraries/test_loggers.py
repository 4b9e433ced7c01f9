"""Real loggers are fed: TensorBoard's event files and an offline run of Weights & Biases hold what the service says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from syllabus_client import DiscreteTaskSpace, make_multiprocessing_curriculum
from syllabus_service.curricula import create

pytestmark = pytest.mark.libraries


@pytest.fixture
def curriculum() -> Iterator[Any]:
    maze = create("domain_randomization", DiscreteTaskSpace(["small", "large"]), seed=1)
    curriculum, _, _ = make_multiprocessing_curriculum(maze)
    with curriculum:
        curriculum.report_episodes(["small", "small", "large"], [1.0, 3.0, 5.0], [4, 4, 9], [1.0, 0.0, 1.0])
        yield curriculum


EXPECTED = {
    "curriculum/episodes": 3.0,
    "curriculum/entropy": np.log(2),
    "curriculum/effective_num_tasks": 2.0,
    "curriculum/return_mean": 3.0,
    "curriculum/probability/small": 0.5,
    "curriculum/task_success_rate/small": 0.5,
    "curriculum/task_return_mean/large": 5.0,
}


def test_tensorboard_s_event_file_has_every_number_at_its_step(curriculum: Any, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(tmp_path)) as writer:
        logged = curriculum.log_metrics(writer, step=70, log_n_tasks=-1)
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert set(events.Tags()["scalars"]) == set(logged)
    for name, value in EXPECTED.items():
        (event,) = events.Scalars(name)
        assert (event.step, event.value) == (70, pytest.approx(value))


def test_a_logger_of_stable_baselines_3_writes_every_number_with_its_next_dump(curriculum: Any, tmp_path: Path) -> None:
    from stable_baselines3.common.logger import configure

    logger = configure(str(tmp_path), ["csv"])
    curriculum.log_metrics(logger, log_n_tasks=-1)
    logger.dump(step=70)
    logger.close()
    names, values = ((tmp_path / "progress.csv").read_text().splitlines()[row].split(",") for row in (0, 1))
    told = dict(zip(names, map(float, values), strict=True))
    assert {name: told[name] for name in EXPECTED} == pytest.approx(EXPECTED)


# A process of its own, since the library leaves threads and files behind.
_WANDB_PROGRAM = """
import json, sys
import wandb

from syllabus_client import CurriculumClient

directory, target, name, through = sys.argv[1:]
run = wandb.init(project="maze", mode="offline", dir=directory)
with CurriculumClient(target, curriculum=name) as curriculum:
    logged = curriculum.log_metrics(run if through == "run" else wandb, step=70, log_n_tasks=-1)
run.log({}, step=71)  # what was logged at a step counts once the next has come
print(json.dumps({"logged": logged, "summary": dict(run.summary)}))
run.finish()
"""


@pytest.mark.parametrize("through", ["run", "module"])
def test_an_offline_run_of_weights_and_biases_has_every_number(curriculum: Any, tmp_path: Path, through: str) -> None:
    places = ("TMPDIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR")
    environment = {**os.environ, **dict.fromkeys(places, str(tmp_path)), "WANDB_ERROR_REPORTING": "false"}
    arguments = [str(tmp_path), curriculum.target.address, curriculum.name, through]
    done = subprocess.run(
        [sys.executable, "-c", _WANDB_PROGRAM, *arguments],
        check=False,
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(next(line for line in done.stdout.splitlines() if line.startswith("{")))
    assert set(EXPECTED) <= set(told["logged"]) <= set(told["summary"])
    for name, value in {**told["logged"], **EXPECTED}.items():
        assert told["summary"][name] == pytest.approx(value)
    assert list(tmp_path.glob("wandb/offline-run-*/*.wandb"))
