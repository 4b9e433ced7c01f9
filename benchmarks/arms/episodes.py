"""Playing episodes and timing resets: the same loop, and the same environment, for every library."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import gymnasium as gym
import numpy as np

from benchmarks.harness import Run, Window, rss_bytes

WARM_UP_SECONDS = 0.5


class ShortEpisodes(gym.Env):
    """An environment that does nothing, ``length`` times an episode: what is measured is what stands around it."""

    def __init__(self, length: int) -> None:
        self.observation_space = gym.spaces.Box(-1.0, 1.0, (1,))
        self.action_space = gym.spaces.Discrete(2)
        self.length = length
        self.task: Any = None
        self._observation = np.zeros(1, np.float32)
        self._step = 0

    def reset(self, *, seed: int | None = None, options: dict | None = None, new_task: Any = None):
        self._step = 0
        self.task = new_task
        return self._observation, {}

    def step(self, action: Any):
        self._step += 1
        return self._observation, 1.0, self._step >= self.length, False, {}


@dataclass(frozen=True)
class Played:
    """What one environment did."""

    episodes: int
    """In the measured time."""
    steps: int
    """In the measured time."""
    waits: np.ndarray
    """float32 (episodes,): seconds that each reset took."""
    total_episodes: int
    """Warm-up included."""


def play(env: gym.Env, start_at: float, seconds: float, *, seed: int | None = None) -> Played:
    """Play episodes from now on, and measure from ``start_at`` (time.monotonic) for some seconds.

    Args:
        env: the environment, reset: it has its first task, and so its connection.
        start_at: when measuring starts; until then it plays to warm up.
        seconds: for how long.
        seed: of random actions; None: always action 0.
    """
    env.action_space.seed(seed)
    end = start_at + seconds
    waits: list[float] = []
    steps = total = 0
    while True:
        length, over = 0, False
        while not over:
            action = 0 if seed is None else env.action_space.sample()
            _, _, terminated, truncated, _ = env.step(action)
            over = terminated or truncated
            length += 1
        total += 1
        before = time.monotonic()
        if before >= end:
            return Played(len(waits), steps, np.array(waits, np.float32), total)
        env.reset()
        if before >= start_at:
            waits.append(time.monotonic() - before)
            steps += length


def figures(results: Sequence[Played], window: Window) -> Run:
    """Figures of all environments of one run."""
    episodes = sum(result.episodes for result in results)
    waits = np.concatenate([result.waits for result in results])
    noise = window.noise
    if not len(waits):  # nobody got a task: the wait was at least this long
        waits = np.array([noise.seconds])
    each = [result.episodes for result in results]
    return Run(
        {
            "episodes_per_s": episodes / noise.seconds,
            "steps_per_s": sum(result.steps for result in results) / noise.seconds,
            "wait_p50_us": float(np.percentile(waits, 50)) * 1e6,
            "wait_p99_us": float(np.percentile(waits, 99)) * 1e6,
            "wait_max_us": float(waits.max()) * 1e6,
            "cpu_us_per_episode": noise.cpu_seconds / max(1, episodes) * 1e6,
            "fewest_over_most_episodes": min(each) / max(1, *each),
        },
        noise,
    )


def play_in_processes(
    make_env: Callable[[int], gym.Env],
    processes: int,
    seconds: float,
    *,
    random_actions: bool = False,
    after: Callable[[Sequence[Played]], None] = lambda results: None,
) -> Run:
    """One environment in each of some forked processes; CPU and time of all of them, and of what they use.

    Args:
        make_env: makes an environment, in the process that uses it, from the process's number.
        processes: how many.
        seconds: to measure.
        random_actions: whether actions are random, with the process's number as the seed.
        after: called with all that was played, after the environments were closed.
    """
    context = multiprocessing.get_context("fork")
    pipes = [context.Pipe() for _ in range(processes)]
    workers = [
        context.Process(target=_worker, args=(theirs, make_env, number, seconds, random_actions))
        for number, (_, theirs) in enumerate(pipes)
    ]
    for worker in workers:
        worker.start()
    for ours, _ in pipes:
        ours.recv()
    start_at = time.monotonic() + WARM_UP_SECONDS
    for ours, _ in pipes:
        ours.send(start_at)
    time.sleep(max(0.0, start_at - time.monotonic()))
    with Window() as window:
        time.sleep(max(0.0, start_at + seconds - time.monotonic()))
        memory = [rss_bytes(worker.pid or 0) for worker in workers]
    results = [ours.recv() for ours, _ in pipes]
    for ours, _ in pipes:
        ours.send("close")
    for ours, _ in pipes:
        ours.recv()
    after(results)
    for worker in workers:
        worker.kill()
        worker.join()
    run = figures(results, window)
    return Run({**run.values, "client_rss_mib": float(np.median(memory)) / 2**20}, run.noise)


def _worker(pipe: Connection, make_env: Callable[[int], gym.Env], number: int, seconds: float, random: bool) -> None:
    env = make_env(number)
    env.reset()
    pipe.send("ready")
    pipe.send(play(env, pipe.recv(), seconds, seed=number if random else None))
    pipe.recv()
    env.close()
    pipe.send("closed")
    pipe.recv()  # until it is killed: what a library's own threads do at the end is no part of this
