"""Self-play in PettingZoo: agents that are stored as bytes are the opponents."""

from __future__ import annotations

import re
from contextlib import closing

import pettingzoo
import pytest
import torch
from pettingzoo.utils import aec_to_parallel
from safetensors.torch import load, save

from examples import self_play
from syllabus_client import DiscreteTaskSpace, PettingZooSyncWrapper, make_multiprocessing_curriculum
from syllabus_service.curricula import create


def test_the_learner_beats_what_it_was_and_every_game_is_counted_once(capsys: pytest.CaptureFixture[str]) -> None:
    means = self_play.main(stages=4, games=30)
    assert means[0] > 3.0  # of 15 rounds, against an agent that mostly plays rock; at first it is that agent
    said = capsys.readouterr().out
    assert "games: 120 counted: 120" in said
    mine, counted = re.findall(r"summed returns: (\S+) counted: (\S+)", said)[0]
    assert float(mine) == pytest.approx(float(counted))
    assert "opponents that were met: 4" in said


@pytest.mark.parametrize(
    ("algorithm", "params"),
    [
        ("prioritized_fictitious_self_play", {}),
        (
            "multi_agent_shared",
            {"curriculum": {"algorithm": "fictitious_self_play"}, "possible_agents": ["player_0", "player_1"]},
        ),
    ],
)
def test_an_opponent_plays_as_the_agent_that_was_stored(algorithm: str, params: dict[str, object]) -> None:
    paper = self_play.Policy()
    with torch.no_grad():
        paper.logits.weight[:, 1] = 100.0
    pool, task_queue, _ = make_multiprocessing_curriculum(create(algorithm, DiscreteTaskSpace(8), params, seed=1))
    with closing(pool) as curriculum:
        assert curriculum.add_agent(save(paper.state_dict())) == 0
        assert torch.equal(load(curriculum.get_agent(0))["logits.weight"], paper.logits.weight)
        game = self_play.AgainstOpponent(aec_to_parallel(pettingzoo.make("aec", "classic/rps-v2")), curriculum)
        with closing(PettingZooSyncWrapper(game, task_queue)) as env:
            _, infos = env.reset()
            assert infos["player_0"]["task"] == 0
            total = 0.0
            while env.agents:
                _, rewards, *_ = env.step({"player_0": 2})  # scissors
                total += rewards["player_0"]
        assert total == 15.0
        assert curriculum.statistics().total.return_mean.tolist() == [15.0]
