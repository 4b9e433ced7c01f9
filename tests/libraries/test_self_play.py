"""Self-play in PettingZoo: agents that are stored as bytes are the opponents."""

from __future__ import annotations

from contextlib import closing

import pettingzoo
import pytest
import torch
from pettingzoo.utils import aec_to_parallel
from safetensors.torch import load, save

from examples import self_play
from syllabus_client import DiscreteTaskSpace, PettingZooSyncWrapper, SessionSettings, make_multiprocessing_curriculum
from syllabus_service.curricula import create
from tests.libraries.ledger import check_ledger, kept_curricula


def test_the_learner_beats_what_it_was_and_every_game_is_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with kept_curricula(self_play, monkeypatch) as kept:
        means, returns = self_play.main(self_play.parse(["--stages", "4", "--games", "30"]))
        check_ledger(kept[0], returns)
        assert kept[0].statistics().tasks.tasks.tolist() == [0, 1, 2, 3]
    assert len(returns) == 120
    assert means[0] > 3.0  # of 15 rounds, against an agent that mostly plays rock; at first it is that agent


def test_an_id_that_is_used_again_is_the_new_agent() -> None:
    def mostly(move: int) -> bytes:
        policy = self_play.Policy()
        with torch.no_grad():
            policy.logits.weight[:, move] = 100.0
        return save(policy.state_dict())

    pool, task_queue, _ = make_multiprocessing_curriculum(create("fictitious_self_play", DiscreteTaskSpace(1), seed=1))
    with closing(pool) as curriculum:
        game = self_play.AgainstOpponent(aec_to_parallel(pettingzoo.make("aec", "classic/rps-v2")), curriculum)
        with closing(PettingZooSyncWrapper(game, task_queue, settings=SessionSettings(prefetch=0))) as env:
            for move, expected in ((1, 15.0), (0, -15.0)):  # scissors against paper, and against rock
                assert curriculum.add_agent(mostly(move)) == 0
                env.reset()
                total = 0.0
                while env.agents:
                    total += env.step({"player_0": 2})[1]["player_0"]
                assert total == expected


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
