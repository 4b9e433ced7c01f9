"""The transforms of prioritized level replay: from scores, or stalenesses, to weights.

Sources: Jiang et al., "Prioritized Level Replay" (arXiv 2010.03934), equations 1 and 2, and the transforms that its
published implementations add.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

TRANSFORMS = (
    "rank",
    "power",
    "proportional",
    "softmax",
    "eps_greedy",
    "constant",
    "uniform",
    "max",
    "match",
    "match_rank",
)


class Transform(NamedTuple):
    """A transform and its parameters."""

    name: str
    """One of TRANSFORMS."""
    temperature: float
    """Above 0; the higher, the more uniform."""
    eps: float = 0.05
    """Of eps_greedy: the share of the mass that is spread evenly, in [0, 1]."""
    offset: float = 0.0
    """Of power: what is added to every value, so that a value of 0 keeps a weight."""


def checked(name: str, transform: Transform) -> Transform:
    """Return ``transform`` with its aliases resolved. Raises ValueError, naming the parameter ``name``."""
    if transform.name not in TRANSFORMS:
        raise ValueError(f"{name}: expected one of {', '.join(TRANSFORMS)}, got {transform.name!r}")
    if not transform.temperature > 0:
        raise ValueError(f"{name}'s temperature: expected a number above 0, got {transform.temperature}")
    if not 0 <= transform.eps <= 1:
        raise ValueError(f"eps: expected a number in [0, 1], got {transform.eps}")
    if transform.name == "proportional":
        return transform._replace(name="power", temperature=1.0)
    if transform.name == "uniform":
        return transform._replace(name="constant")
    return transform


def log_weights(transform: Transform, x: np.ndarray) -> np.ndarray:
    """float64, shape of ``x``: log of the weight of each value, where it depends on that value alone.

    power: ((x clipped at 0) + offset)^(1/T); softmax: exp(x/T); match: (x(1-x) clipped at 0)^(1/T); constant: 1.
    """
    with np.errstate(divide="ignore", over="ignore"):
        if transform.name == "power":
            return np.log(np.maximum(x, 0.0) + transform.offset) / transform.temperature
        if transform.name == "softmax":
            return x / transform.temperature
        if transform.name == "match":
            return np.log(np.maximum(x * (1.0 - x), 0.0)) / transform.temperature
    if transform.name == "constant":
        return np.zeros_like(x)
    raise ValueError(f"{transform.name} does not weigh values one by one")


def rank_weights(count: int, temperature: float) -> np.ndarray:
    """float64 (count,): rank^(-1/T) for the ranks 1..count. T is the temperature (equation 2 of the paper's beta)."""
    return np.arange(1, count + 1, dtype=np.float64) ** (-1.0 / temperature)


def ranking_key(transform: Transform, x: np.ndarray) -> np.ndarray:
    """What rank and match_rank sort by: x, or x(1-x)."""
    if transform.name == "rank":
        return x
    with np.errstate(over="ignore"):
        return x * (1.0 - x)


def distribution(transform: Transform, x: np.ndarray, eligible: np.ndarray) -> np.ndarray:
    """float64 (N,): the probability of each of N values; 0 where not ``eligible``, uniform where no weight is left.

    Values that are not eligible take part in ranks and in the maximum of eps_greedy, and are masked afterwards. Equal
    values: the higher index has the better rank. All zeros where nothing is eligible. O(N log N) for the ranks, O(N)
    otherwise.

    Args:
        transform: which.
        x: float64 (N,).
        eligible: bool (N,).
    """
    if transform.name in ("rank", "match_rank"):
        weights = np.empty(len(x))
        best_first = np.argsort(ranking_key(transform, x), kind="stable")[::-1]
        weights[best_first] = rank_weights(len(x), transform.temperature)
    elif transform.name == "eps_greedy":
        weights = np.full(len(x), transform.eps / len(x))
        weights[np.argmax(x)] += 1.0 - transform.eps
    elif transform.name == "max":
        best = np.max(x, where=eligible, initial=-np.inf)
        weights = (x == best).astype(np.float64)
    else:
        logs = np.where(eligible, log_weights(transform, x), -np.inf)
        top = logs.max(initial=-np.inf)
        weights = np.exp(logs - top) if np.isfinite(top) else np.zeros(len(x))
    weights = np.where(eligible, weights, 0.0)
    # Ranks far from the best may have weights that are not normal numbers: scale before adding up.
    top = weights.max(initial=0.0)
    if top > 0:
        weights = weights / top
        return weights / weights.sum()
    count = np.count_nonzero(eligible)
    return eligible / count if count else np.zeros(len(x))
