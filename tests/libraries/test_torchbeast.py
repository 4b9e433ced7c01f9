"""Actors with shared buffers and a V-trace learner, as TorchBeast builds them."""

import numpy as np
import torch

from examples import torchbeast_impala
from tests.libraries.ledger import check_ledger, kept_curricula


def test_every_episode_of_the_actors_is_counted_once(monkeypatch):
    small = ["--num-actors", "2", "--num-buffers", "6", "--batch-size", "2", "--total-steps", "4000"]
    with kept_curricula(torchbeast_impala, monkeypatch) as kept:
        episode_returns = torchbeast_impala.main(torchbeast_impala.parse(small))
        check_ledger(kept[0], episode_returns)
        assert kept[0].statistics().total.length_mean[0] == kept[0].statistics().total.return_mean[0]


def test_v_trace_is_the_sum_of_the_paper():
    """Equation 1, term by term."""
    generator = torch.Generator().manual_seed(3)
    log_rhos = torch.randn((6, 2), generator=generator, dtype=torch.float64)
    rewards, values = torch.randn((2, 6, 2), generator=generator, dtype=torch.float64)
    last = torch.randn(2, generator=generator, dtype=torch.float64)
    discounts = torch.full((6, 2), 0.9, dtype=torch.float64)
    discounts[3, 0] = 0.0  # an episode ends there
    targets, advantages = torchbeast_impala.vtrace(log_rhos, discounts, rewards, values, last)
    states = torch.cat([values, last[None]])
    rho = log_rhos.exp().clamp(max=1.0)
    for b in range(2):
        for s in range(6):
            expected = states[s, b].item()
            for t in range(s, 6):
                weight = np.prod([(discounts[i, b] * rho[i, b]).item() for i in range(s, t)])
                expected += weight * rho[t, b] * (rewards[t, b] + discounts[t, b] * states[t + 1, b] - states[t, b])
            np.testing.assert_allclose(targets[s, b], expected, rtol=1e-10)
    following = torch.cat([targets[1:], last[None]])
    torch.testing.assert_close(advantages, rho * (rewards + discounts * following - values))


def test_a_learner_that_sees_its_own_policy_learns():
    """On-policy rollouts of one decision: the action that pays is taken more often."""
    torch.manual_seed(1)
    args = torchbeast_impala.parse([])
    model = torchbeast_impala.Net()
    optimizer = torch.optim.RMSprop(model.parameters(), lr=args.learning_rate)
    observation = torch.tensor([0.1, -0.2, 0.3, 0.0]).expand(5, 64, 4)
    for _ in range(100):
        with torch.no_grad():
            logits, _ = model(observation)
        action = torch.distributions.Categorical(logits=logits).sample()
        reward = torch.cat([torch.zeros(1, 64), (action[:-1] == 1).float()])
        done = torch.ones(5, 64, dtype=torch.bool)
        batch = {"observation": observation, "action": action, "policy_logits": logits, "reward": reward, "done": done}
        torchbeast_impala.learn(model, optimizer, batch, args)
    assert model(observation)[0].softmax(-1)[0, 0, 1] > 0.9


def test_it_learns():
    args = torchbeast_impala.parse(["--num-actors", "2", "--total-steps", "60000"])
    episode_returns = torchbeast_impala.main(args)
    assert np.mean(episode_returns[-100:]) > 1.2 * np.mean(episode_returns[:100])
