"""The scores of prioritized level replay: how much a step of an episode says that its task has left to teach.

Sources: Jiang et al., "Prioritized Level Replay" (arXiv 2010.03934), section 3.1 and table 1; "Replay-Guided
Adversarial Environment Design" (arXiv 2110.02439), section 4 (positive value loss); the grounded scores are those of
the latter's published implementation.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

VALUE_STRATEGIES = (
    "value_l1",
    "positive_value_loss",
    "signed_value_loss",
    "gae",
    "one_step_td_error",
    "alt_advantage_abs",
)
GROUNDED_STRATEGIES = ("grounded_signed_value_loss", "grounded_positive_value_loss")
POLICY_STRATEGIES = ("policy_entropy", "least_confidence", "min_margin")
UNSCORED_STRATEGIES = ("random", "off", "sequential")
STRATEGIES = (*VALUE_STRATEGIES, *GROUNDED_STRATEGIES, *POLICY_STRATEGIES, "uniform", *UNSCORED_STRATEGIES)


class Rollout(NamedTuple):
    """T steps of A environments, as the learner collected them. All float64 but ``dones``."""

    dones: np.ndarray
    """bool (T, A): the step ended its environment's episode."""
    rewards: np.ndarray | None = None
    """(T, A)."""
    values: np.ndarray | None = None
    """(T, A): V of the state before the step."""
    next_values: np.ndarray | None = None
    """(T, A): V of the state after the step; not read where the step is done."""
    logits: np.ndarray | None = None
    """(T, A, actions)."""
    alt_returns: np.ndarray | None = None
    """(T, A): another estimate of the return from each step on."""


def advantages(rollout: Rollout, gamma: float, gae_lambda: float) -> np.ndarray:
    """float64 (T, A): generalised advantage estimates.

    A_t = delta_t + gamma lambda (1 - done_t) A_{t+1}, with delta_t = r_t + gamma (1 - done_t) V_{t+1} - V_t; beyond the
    last step A is 0. (Schulman et al., arXiv 1506.02438, equation 16.) O(T A).
    """
    rewards, values, next_values = rollout.rewards, rollout.values, rollout.next_values
    if rewards is None or values is None or next_values is None:
        raise ValueError("rewards, values, next_value: expected all of them")
    going_on = np.where(rollout.dones, 0.0, 1.0)
    deltas = rewards + gamma * going_on * next_values - values
    result = np.empty_like(deltas)
    following = np.zeros(deltas.shape[1])
    for t in range(len(deltas) - 1, -1, -1):
        following = deltas[t] + gamma * gae_lambda * going_on[t] * following
        result[t] = following
    return result


def step_scores(strategy: str, rollout: Rollout, gamma: float, gae_lambda: float) -> np.ndarray:
    """float64 (T, A): the score of each step, of which an episode's score is the mean (and ``max_score`` the maximum).

    With A_t the advantage and pi the softmax of the logits:

    * value_l1 |A_t|; gae and signed_value_loss A_t; positive_value_loss max(A_t, 0)
    * alt_advantage_abs |R_t - V_t|, R_t from ``alt_returns`` or else the discounted return, bootstrapped at the end
    * one_step_td_error |r_t + gamma V_{t+1} - V_t|, and |r_t - V_t| at the end of an episode, which counts only where
      the episode has no other step
    * policy_entropy H(pi) / ln(actions); least_confidence 1 - max pi; min_margin 1 - (largest - second largest pi)
    * uniform 1

    The grounded scores depend on the whole episode: see ``grounded_score``.
    """
    if strategy == "uniform":
        return np.ones(rollout.dones.shape)
    if strategy in POLICY_STRATEGIES:
        return _policy_scores(strategy, rollout.logits)
    if strategy == "alt_advantage_abs":
        if rollout.alt_returns is not None:
            return np.abs(rollout.alt_returns - rollout.values)
        return np.abs(advantages(rollout, gamma, 1.0))  # lambda = 1: the discounted return minus V
    if strategy == "one_step_td_error":
        return np.abs(advantages(rollout, gamma, 0.0))  # lambda = 0: the TD error
    advantage = advantages(rollout, gamma, gae_lambda)
    if strategy == "value_l1":
        return np.abs(advantage)
    if strategy == "positive_value_loss":
        return np.maximum(advantage, 0.0)
    return advantage


def _policy_scores(strategy: str, logits: np.ndarray | None) -> np.ndarray:
    if logits is None:
        raise ValueError(f"logits: expected an array, which {strategy} needs")
    shifted = logits - logits.max(axis=-1, keepdims=True)
    exponentials = np.exp(shifted)
    total = exponentials.sum(axis=-1, keepdims=True)
    policy = exponentials / total
    actions = policy.shape[-1]
    if strategy == "policy_entropy":
        entropy = -(policy * (shifted - np.log(total))).sum(axis=-1)
        return entropy / np.log(actions) if actions > 1 else np.zeros(policy.shape[:-1])
    if strategy == "least_confidence":
        return 1.0 - policy.max(axis=-1)
    if actions == 1:
        return np.zeros(policy.shape[:-1])
    best = np.partition(policy, actions - 2, axis=-1)
    return 1.0 - (best[..., -1] - best[..., -2])


def grounded_score(strategy: str, best_return: float, values: np.ndarray, *, first_only: bool) -> tuple[float, float]:
    """Mean and maximum over an episode of G - V_t, or of max(G - V_t, 0): ``(score, max_score)``.

    Args:
        strategy: one of GROUNDED_STRATEGIES.
        best_return: G, the highest undiscounted return that was reached in the task, this episode included.
        values: float64 (L,): V_t of the episode's steps, at least one.
        first_only: only t = 0 counts, for rewards that are dense (otherwise they are taken to come at the end).
    """
    gaps = best_return - (values[:1] if first_only else values)
    if strategy == "grounded_positive_value_loss":
        gaps = np.maximum(gaps, 0.0)
    return float(gaps.mean()), float(gaps.max())
