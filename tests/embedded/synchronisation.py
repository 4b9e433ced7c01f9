"""What exact synchronisation means, for every way of finding a service."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np

from syllabus_client.task_spaces import DiscreteTaskSpace
from tests.embedded.ways import Way

WORKERS, EPISODES, TASKS = 8, 200, 40


def check_that_synchronisation_is_exact(way: Way, directory: Path) -> None:
    """Every task of a list is run just as often as the list says, and the service counts what the environments saw."""
    each = WORKERS * EPISODES // TASKS
    params = {"tasks": list(range(TASKS)), "repeat": each}
    with way.serve(directory, "manual", DiscreteTaskSpace(TASKS), params) as (client, wrap):
        assert client.summary().num_assignments == 0  # the learner has a connection before any worker is started
        ran = way.run(wrap, WORKERS, EPISODES)
        tasks = client.statistics().tasks
        summary = client.summary()
    assert Counter(run.task for run in ran) == Counter(dict.fromkeys(range(TASKS), each))
    assert tasks.tasks.tolist() == list(range(TASKS))
    assert tasks.num_episodes.tolist() == [each] * TASKS
    for task in range(TASKS):
        mine = [run for run in ran if run.task == task]
        assert np.isclose(tasks.return_mean[task] * each, sum(run.episode_return for run in mine), rtol=1e-12)
        assert np.isclose(tasks.length_mean[task] * each, sum(run.length for run in mine), rtol=1e-12)
    # Every task that was handed out has come back: reported, or given back by an episode that was cut off.
    assert summary.num_episodes == WORKERS * EPISODES
    assert summary.num_assignments == summary.num_episodes + summary.num_abandoned
    assert summary.num_open_assignments == 0
    assert summary.num_rejected == 0
