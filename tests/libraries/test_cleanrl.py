"""PPO in one file, as CleanRL writes it."""

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from examples import cleanrl_ppo
from tests.libraries.ledger import check_ledger, kept_curricula

SMALL = ["--env-id", "MiniGrid-Empty-5x5-v0", "--num-envs", "4", "--num-steps", "64", "--total-timesteps", "1536"]


@pytest.mark.parametrize("vectorized", [[], ["--async-envs"]], ids=["sync", "async"])
@pytest.mark.parametrize("autoreset", ["same_step", "next_step"])
def test_every_episode_is_counted_once(autoreset, vectorized, monkeypatch, tmp_path):
    args = cleanrl_ppo.parse([*SMALL, "--autoreset", autoreset, *vectorized, "--log-dir", str(tmp_path)])
    with kept_curricula(cleanrl_ppo, monkeypatch) as kept:
        episode_returns = cleanrl_ppo.main(args)
        check_ledger(kept[0], episode_returns)


def test_it_learns_and_the_rollouts_reach_level_replay_and_the_metrics_tensorboard(monkeypatch, tmp_path):
    small = ["--env-id", "MiniGrid-Empty-5x5-v0", "--num-envs", "8", "--num-steps", "64", "--total-timesteps", "24576"]
    with kept_curricula(cleanrl_ppo, monkeypatch) as kept:
        episode_returns = cleanrl_ppo.main(cleanrl_ppo.parse([*small, "--log-dir", str(tmp_path)]))
        check_ledger(kept[0], episode_returns)
        distribution = kept[0].distribution()
        played = kept[0].statistics().tasks.tasks
    assert np.mean(episode_returns[-100:]) > np.mean(episode_returns[:100]) + 0.15
    # What was played has scores, by which it is drawn again; without scores all levels would be equally likely.
    assert np.ptp(distribution[played]) > 0.001
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    logged = events.Scalars("curriculum/episodes")
    assert [each.step for each in logged] == list(range(512, 24577, 512))
    assert logged[-1].value <= len(episode_returns)
    assert events.Scalars("curriculum/effective_num_tasks")
