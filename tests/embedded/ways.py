"""Every way of finding a service, for the one suite that runs over all of them. A new one only has to be listed."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AsyncVectorEnv, AutoresetMode

from syllabus_client.client import CurriculumClient
from syllabus_client.multiprocessing import MultiProcessingSyncWrapper, make_multiprocessing_curriculum
from syllabus_client.settings import SessionSettings
from syllabus_client.task_spaces import TaskSpace
from syllabus_client.wrappers import GymnasiumSyncWrapper
from syllabus_service.curricula import create
from tests.embedded.workers import KINDS, Wrap, work
from tests.service_process import ServiceProcess
from tests.wrappers.environments import LedgerEnv, Run

Served = tuple[CurriculumClient, Wrap]
"""The learner's client, and what wraps the environments of workers."""


@dataclass(frozen=True)
class Way:
    """How a curriculum is served and found, and how the workers run."""

    serve: Callable[[Path, str, TaskSpace, dict[str, Any]], AbstractContextManager[Served]]
    """Serves an algorithm: a directory, its name, its task space and parameters."""
    run: Callable[[Wrap, int, int], list[Run]]
    """Runs so many workers of so many episodes each; all episodes that ended, as the environments saw them."""


@contextmanager
def serve_target(directory: Path, algorithm: str, space: TaskSpace, params: dict[str, Any]) -> Iterator[Served]:
    """A ``syllabus-service serve`` process, by its address."""
    service = ServiceProcess(directory, data_dir=None, listen=f"unix:{directory}/s")
    service.start()
    try:
        with closing(CurriculumClient(service.target, curriculum="exact")) as client:
            client.create(algorithm, space, params, seed=1)
            yield client, partial(GymnasiumSyncWrapper, target=service.target, curriculum="exact")
    finally:
        service.close()


@contextmanager
def serve_embedded(directory: Path, algorithm: str, space: TaskSpace, params: dict[str, Any]) -> Iterator[Served]:
    """``make_multiprocessing_curriculum``."""
    client, task_queue, update_queue = make_multiprocessing_curriculum(create(algorithm, space, params, seed=1))
    with closing(client):
        yield client, partial(MultiProcessingSyncWrapper, task_queue=task_queue, update_queue=update_queue)


def run_processes(method: str | None, wrap: Wrap, workers: int, episodes: int) -> list[Run]:
    """A loop over ``Process`` of a start method, or of the default one."""
    context: Any = multiprocessing.get_context(method)
    results, processes = [], []
    for number in range(workers):
        receiving, sending = context.Pipe(duplex=False)
        arguments = (wrap, KINDS[number % len(KINDS)], episodes, sending)
        processes.append(context.Process(target=work, args=arguments))
        processes[-1].start()
        sending.close()
        results.append(receiving)
    try:
        ran = [run for each in results for run in each.recv()]
    finally:
        for process in processes:
            process.join(60)
            process.kill()  # one that waits for what another did not deliver
            process.join()
            process.close()
    return ran


def run_async_vector_env(wrap: Wrap, workers: int, episodes: int) -> list[Run]:
    """gymnasium's AsyncVectorEnv, an environment in each worker; some are reset in the middle, some closed there.

    The parent resets, so that each environment runs just as many episodes. Idle environments would keep tasks ready
    that others wait for, so none are kept.
    """
    fresh = partial(wrap, settings=SessionSettings(prefetch=0))  # type: ignore[call-arg]

    def make(kind: str) -> gym.Env:
        return fresh(LedgerEnv("truncated" if kind == "truncated" else "terminated"))

    kinds = [KINDS[number % len(KINDS)] for number in range(workers)]
    env = AsyncVectorEnv([partial(make, kind) for kind in kinds], autoreset_mode=AutoresetMode.DISABLED)
    may_be_cut = np.array([kind in ("reset", "closed") for kind in kinds])
    finished = np.zeros(workers, dtype=np.int64)
    running = np.ones(workers, dtype=bool)
    env.reset()
    for step in range(100 * episodes):
        _, _, terminated, truncated, _ = env.step(np.zeros(workers, dtype=np.int64))
        over = running & (terminated | truncated)
        finished += over
        cut = running & ~over & may_be_cut & (step % 5 == 0)
        again = (over & (finished < episodes)) | cut
        running = (running & ~over) | again
        if not running.any():
            break
        if again.any():
            env.reset(options={"reset_mask": again})
    ran = [run for each in env.get_attr("ledger") for run in each]
    env.close()
    return ran


WAYS: dict[str, Way] = {
    "target": Way(serve_target, partial(run_processes, "spawn")),
    "multiprocessing, fork": Way(serve_embedded, partial(run_processes, "fork")),
    "multiprocessing, forkserver": Way(serve_embedded, partial(run_processes, "forkserver")),
    "multiprocessing, spawn": Way(serve_embedded, partial(run_processes, "spawn")),
    "multiprocessing, a plain Process loop": Way(serve_embedded, partial(run_processes, None)),
    "multiprocessing, AsyncVectorEnv": Way(serve_embedded, run_async_vector_env),
}
