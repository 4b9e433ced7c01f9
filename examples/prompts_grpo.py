"""Prompts as tasks, in a training loop of one's own: group-relative policy optimization (GRPO, arXiv 2402.03300).

.venv-libraries/bin/python -m examples.prompts_grpo
"""

from __future__ import annotations

import argparse

import torch
from torch.distributions import Categorical
from torch.utils.data import DataLoader

from examples.prompts_products import Policy, Products, accuracy
from syllabus_client import CurriculumSampler, DiscreteTaskSpace, make_multiprocessing_curriculum
from syllabus_service.curricula import create

PROMPTS, GROUP = 32, 8  # prompts in a step, and rollouts of each
PARAMS = {"update_interval": 3200, "topk": 100, "learnable_prob": 0.5}


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """What to train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args(arguments)


def main(args: argparse.Namespace) -> list[float]:
    """Train; return the rewards of all rollouts."""
    steps, seed = args.steps, args.seed
    torch.manual_seed(seed)
    torch.set_num_threads(1)  # for networks as small as these
    dataset, policy = Products(), Policy()
    optimizer = torch.optim.Adam(policy.parameters(), lr=0.003)
    curriculum, queue, _ = make_multiprocessing_curriculum(create("learnability", DiscreteTaskSpace(400), PARAMS, seed))
    sampler = CurriculumSampler(queue, num_samples=steps * PROMPTS, batch_size=PROMPTS, group_size=GROUP)
    seen = []
    for step, rows in enumerate(DataLoader(dataset, batch_size=PROMPTS * GROUP, sampler=sampler)):
        answers = Categorical(logits=policy(rows["prompt"]))
        completions = answers.sample()
        rewards = (completions == rows["answer"]).float()
        sampler.report(rows["index"], rewards)
        groups = rewards.view(PROMPTS, GROUP)
        advantages = (groups - groups.mean(1, keepdim=True)) / (groups.std(1, keepdim=True) + 1e-4)
        loss = -(advantages.flatten() * answers.log_prob(completions)).mean() - 0.1 * answers.entropy().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        seen += rewards.tolist()
        if step % 25 == 0 or step == steps - 1:
            print(f"step {step}: reward {rewards.mean():.2f}, accuracy {accuracy(policy):.2f}")
    sampler.close()
    curriculum.close()
    return seen


if __name__ == "__main__":
    main(parse())
