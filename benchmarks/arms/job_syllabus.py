"""The arm `Syllabus`: its multiprocessing path, as its documentation shows it. Runs in .venv-syllabus."""

from __future__ import annotations

import gymnasium as gym
from syllabus.core import GymnasiumSyncWrapper, make_multiprocessing_curriculum
from syllabus.curricula import DomainRandomization
from syllabus.task_space import DiscreteTaskSpace

from benchmarks.arms.episodes import ShortEpisodes, play_in_processes
from benchmarks.harness import Run, arm_main


def run(processes: int, tasks: int, seconds: float, length: int = 5) -> Run:
    """Play with Syllabus' domain randomization."""
    space = DiscreteTaskSpace(tasks)
    curriculum = make_multiprocessing_curriculum(DomainRandomization(space))

    def make_env(number: int) -> gym.Env:
        return GymnasiumSyncWrapper(ShortEpisodes(length), space, curriculum.components)

    try:
        return play_in_processes(make_env, processes, seconds)
    finally:
        curriculum.components.close()


if __name__ == "__main__":
    arm_main(run)
