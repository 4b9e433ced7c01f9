"""The arm `this service`: environments in processes of one machine, the service embedded."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import gymnasium as gym

from benchmarks.arms.episodes import Played, ShortEpisodes, play_in_processes
from benchmarks.harness import Run, arm_main, rss_bytes
from syllabus_client import DiscreteTaskSpace, MultiProcessingSyncWrapper, TaskWrapper, make_multiprocessing_curriculum
from syllabus_service.curricula import create

ENVIRONMENTS: dict[str, Callable[[int], gym.Env]] = {
    "short": ShortEpisodes,
    "CartPole-v1": lambda length: TaskWrapper(gym.make("CartPole-v1")),
}


def run(
    processes: int,
    tasks: int,
    seconds: float,
    environment: str = "short",
    length: int = 5,
    algorithm: str = "domain_randomization",
) -> Run:
    """Play with a curriculum; every episode that was played must have been counted."""
    space = DiscreteTaskSpace(tasks)
    curriculum, task_queue, update_queue = make_multiprocessing_curriculum(create(algorithm, space, seed=0))

    def check(results: Sequence[Played]) -> None:
        played = sum(result.total_episodes for result in results)
        counted = curriculum.summary().num_episodes
        if counted != played:
            raise RuntimeError(f"{played} episodes were played, and {counted} counted")

    try:
        played = play_in_processes(
            lambda number: MultiProcessingSyncWrapper(ENVIRONMENTS[environment](length), task_queue, update_queue),
            processes,
            seconds,
            random_actions=environment != "short",
            after=check,
        )
        return Run({**played.values, "service_rss_mib": rss_bytes(curriculum.service_pid) / 2**20}, played.noise)
    finally:
        curriculum.close()


if __name__ == "__main__":
    arm_main(run)
