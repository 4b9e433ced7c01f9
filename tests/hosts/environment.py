"""An environment in its wrapper, that goes on as its policy says: a program with a ledger and a diary.

``python -m tests.hosts.environment TARGET CURRICULUM LEDGER NUMBER POLICY DIARY``; ends, with everything delivered, on
SIGTERM. The diary has a line for each reset: when it began and ended (seconds, monotonic clock), and what it gave:
``task``, ``repeated`` or ``refused``.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any, cast

import gymnasium as gym
import numpy as np

from syllabus_client import GymnasiumSyncWrapper
from syllabus_client.errors import ServiceUnavailableError
from syllabus_client.settings import OnUnavailable, SessionSettings
from tests.chaos.ledger import LedgerWriter
from tests.chaos.worker import EPISODES_PER_WORKER

_STEPS = 4
_STEP_SECONDS = 0.01
_REFUSED_SECONDS = 0.1
_WAIT_SECONDS = 100.0


class Numbered(gym.Env[np.ndarray, int]):
    """Episodes of a few steps whose return is their number."""

    observation_space = gym.spaces.Box(-1.0, 1.0, (1,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, first: int) -> None:
        self.number = first
        self._step = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None, new_task: int | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self._step = 0
        return np.zeros(1, np.float32), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        time.sleep(_STEP_SECONDS)
        self._step += 1
        over = self._step == _STEPS
        info = {"task_completion": float(self.number % 3 == 0)} if over else {}
        return np.zeros(1, np.float32), float(self.number) if over else 0.0, over, False, info


def main(target: str, curriculum: str, path: str, number: str, policy: str, diary: str) -> None:
    """Run episodes until SIGTERM."""
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    ledger = LedgerWriter(Path(path))
    env = Numbered(int(number) * EPISODES_PER_WORKER)
    settings = SessionSettings(
        on_unavailable=cast(OnUnavailable, policy), timeout=_WAIT_SECONDS, stall_timeout=3.0, backoff_max=0.5
    )
    wrapped = GymnasiumSyncWrapper(env, target, curriculum=curriculum, settings=settings)
    with Path(diary).open("a", buffering=1) as lines:
        while not stopping.is_set():
            began = time.monotonic()
            try:
                _, info = wrapped.reset()
            except ServiceUnavailableError:
                lines.write(f"{began} {time.monotonic()} refused\n")
                time.sleep(_REFUSED_SECONDS)
                continue
            lines.write(f"{began} {time.monotonic()} {'task' if info['assignment_id'] else 'repeated'}\n")
            ledger.sent(env.number, int(info["task"]))
            over = False
            while not over:
                _, _, over, _, _ = wrapped.step(0)
            env.number += 1
    wrapped.close()
    ledger.confirmed()
    ledger.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
