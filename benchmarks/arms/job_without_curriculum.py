"""The arm `no curriculum`: the same environments, played by the same loop, with nothing around them."""

from __future__ import annotations

import gymnasium as gym

from benchmarks.arms.episodes import ShortEpisodes, play_in_processes
from benchmarks.harness import Run, arm_main


def run(processes: int, seconds: float, environment: str = "short", length: int = 5) -> Run:
    """Play without a curriculum."""

    def make_env(number: int) -> gym.Env:
        return ShortEpisodes(length) if environment == "short" else gym.make(environment)

    return play_in_processes(make_env, processes, seconds, random_actions=environment != "short")


if __name__ == "__main__":
    arm_main(run)
