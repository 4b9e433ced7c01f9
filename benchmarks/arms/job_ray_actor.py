"""The arm `Ray actor`: a curriculum as an actor with get_task and report, environments in actors. Runs in .venv-ray.

What a user of Ray writes in ten lines. A report is not waited for; a task is.
"""

from __future__ import annotations

import os
import socket
import sys
import tempfile
import time
from typing import Any

import gymnasium as gym
import numpy as np
import ray

from benchmarks.arms.episodes import WARM_UP_SECONDS, Played, ShortEpisodes, figures, play
from benchmarks.harness import ROOT, Run, Window, arm_main

_TRIES = 3


class RayTasks(gym.Wrapper):
    """Asks an actor for the task of each episode, and tells it how it went."""

    def __init__(self, env: gym.Env, actor: Any, number: int) -> None:
        super().__init__(env)
        self._actor = actor
        self._number = number
        self._task = 0
        self._return, self._length = 0.0, 0

    def reset(self, **kwargs: Any):
        self._task = ray.get(self._actor.get_task.remote())
        self._return, self._length = 0.0, 0
        return self.env.reset(new_task=self._task, **kwargs)

    def step(self, action: Any):
        observation, reward, terminated, truncated, info = self.env.step(action)
        self._return += float(reward)
        self._length += 1
        if terminated or truncated:
            self._actor.report.remote(self._return, self._length, self._task, self._number)
        return observation, reward, terminated, truncated, info


@ray.remote(num_cpus=0)
class CurriculumActor:
    """Domain randomization."""

    def __init__(self, tasks: int) -> None:
        self._rng = np.random.default_rng(0)
        self._tasks = tasks
        self._episodes = 0

    def get_task(self) -> int:
        return int(self._rng.integers(self._tasks))

    def report(self, episode_return: float, length: int, task: int, env_id: int) -> None:
        self._episodes += 1


@ray.remote(num_cpus=0)
class Player:
    """One environment."""

    def __init__(self, actor: Any, number: int, length: int) -> None:
        self._env = RayTasks(ShortEpisodes(length), actor, number)

    def ready(self) -> None:
        """Answers when it has its first task."""
        self._env.reset()

    def play(self, start_at: float, seconds: float) -> Played:
        return play(self._env, start_at, seconds)


def run(processes: int, tasks: int, seconds: float, length: int = 5) -> Run:
    """Play with a curriculum in an actor."""
    if [name for _, name in socket.if_nameindex()] != ["lo"]:
        raise RuntimeError("Ray listens on every interface: run this by .ci/with-loopback-only")
    os.environ |= {
        "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]),
        "RAY_AUTH_MODE": "disabled",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_gcs_server_port_wait_time_s": "60",
    }
    # Ray's sockets have long names, and their paths are bounded.
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as directory:
        _start(directory)
        try:
            actor = CurriculumActor.remote(tasks)
            players = [Player.remote(actor, number, length) for number in range(processes)]
            ray.get([player.ready.remote() for player in players])
            start_at = time.monotonic() + WARM_UP_SECONDS
            playing = [player.play.remote(start_at, seconds) for player in players]
            time.sleep(max(0.0, start_at - time.monotonic()))
            with Window() as window:
                time.sleep(seconds)
            return figures(ray.get(playing), window)
        finally:
            ray.shutdown()


def _start(directory: str) -> None:
    """Start Ray, whose head does not always come up at the first attempt."""
    for attempt in range(_TRIES):
        try:
            ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, _temp_dir=f"{directory}/{attempt}")
        except Exception:
            ray.shutdown()
            if attempt == _TRIES - 1:
                raise
        else:
            return


if __name__ == "__main__":
    arm_main(run)
