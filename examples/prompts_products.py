"""Prompts as tasks: products, each a row of a dataset, and a tiny policy that answers them with one digit.

Most of them cannot be answered so, as the product has more digits: as in a real dataset of problems that are too hard,
no rollout of theirs is ever right, and no step on them teaches anything.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.utils.data import Dataset

FACTORS = 20  # a x b, both from 0 to 19
DIGITS = 10


class Products(Dataset[dict[str, Any]]):
    """400 prompts. Row i asks for ``(i // 20) * (i % 20)``; 62 of them can be answered by a digit."""

    def __init__(self) -> None:
        rows = torch.arange(FACTORS * FACTORS)
        self.prompts = torch.stack([rows // FACTORS, rows % FACTORS], 1)
        self.answers = self.prompts.prod(1)

    def __len__(self) -> int:
        return len(self.prompts)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"index": index, "prompt": self.prompts[index], "answer": self.answers[index]}


class Policy(nn.Module):
    """Prompts (n, 2) to logits (n, 10)."""

    def __init__(self) -> None:
        super().__init__()
        self.factors = nn.Embedding(2 * FACTORS, 64)
        self.head = nn.Sequential(nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, DIGITS))

    def forward(self, prompts: torch.Tensor) -> torch.Tensor:
        return self.head(self.factors(prompts + torch.tensor([0, FACTORS])).flatten(1))


@torch.no_grad()
def accuracy(policy: Policy) -> float:
    """Mean probability that the policy answers right, over the prompts that can be answered."""
    products = Products()
    possible = products.answers < DIGITS
    chances = policy(products.prompts[possible]).softmax(-1)
    return chances.gather(1, products.answers[possible, None]).mean().item()
