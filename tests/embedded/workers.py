"""What the worker processes of the synchronisation tests do; importable, so that every start method can send it."""

from __future__ import annotations

from collections.abc import Callable
from multiprocessing.connection import Connection

import gymnasium as gym

from tests.wrappers.environments import LedgerEnv, Run

KINDS = ("terminated", "truncated", "reset", "closed")
"""How the environments of a worker end: of themselves in two ways, or, now and then, cut off in the middle in two."""

Wrap = Callable[[gym.Env], gym.Env]


def run_episodes(wrap: Wrap, kind: str, episodes: int) -> list[Run]:
    """Run until so many episodes have ended, each fifth one being cut off where ``kind`` says so."""
    finished: list[Run] = []
    inner = LedgerEnv("truncated" if kind == "truncated" else "terminated")
    env = wrap(inner)
    started = 0
    while len(finished) + len(inner.ledger) < episodes:
        started += 1
        env.reset()
        if kind in ("reset", "closed") and started % 5 == 0:
            if inner.task % 3 > 0:  # it takes more than one step
                env.step(0)
            if kind == "closed":
                env.close()
                finished += inner.ledger
                inner = LedgerEnv()
                env = wrap(inner)
            continue
        over = False
        while not over:
            _, _, terminated, truncated, _ = env.step(0)
            over = terminated or truncated
    env.close()
    return finished + inner.ledger


def work(wrap: Wrap, kind: str, episodes: int, results: Connection) -> None:
    """The body of a worker process."""
    results.send(run_episodes(wrap, kind, episodes))
    results.close()
