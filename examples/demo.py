"""The demo: one learner, four environment processes, and two curricula compared on a family of CartPole tasks.

``make demo``, or ``python -m examples.demo --help``.
"""

from __future__ import annotations

import argparse
import functools
import multiprocessing
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import gymnasium as gym
import numpy as np
from rich.console import Console

from examples.cartpole_family import FORCES, MAX_STEPS, NUM_TASKS, make_cartpole, task_space
from examples.linear_policy import NUM_PARAMETERS, evaluate
from examples.live_view import Progress, View, open_view
from examples.policy_rollout import PolicyRollout
from examples.random_search import RandomSearch
from examples.report import Result, draw_picture, print_table, write_figures
from syllabus_client import MultiProcessingSyncWrapper, make_multiprocessing_curriculum
from syllabus_service.curricula import Curriculum, create

NUM_ENVS = 4
SHOW_INTERVAL = 0.5
"""Seconds between two looks at the service's distribution."""
PRELOADED = [
    "examples.policy_rollout",
    "examples.report",
    "syllabus_client.multiprocessing",
    "syllabus_service.curricula",
]
"""What the workers import, imported once for all of them."""
CURVE_POINTS = 16
"""How many policies of a training, at most, the learning curve evaluates."""

CURRICULA: dict[str, Callable[[int], Curriculum]] = {
    "DomainRandomization": lambda seed: create("domain_randomization", task_space(), seed=seed),
    "OnlineLearningProgress": lambda seed: create(
        "online_learning_progress", task_space(), {"save_last": True}, seed=seed
    ),
}


def make_env(task_queue: object, update_queue: object) -> gym.Env[np.ndarray, np.ndarray]:
    """One worker's environment. The main process makes one, too, and asks it for its spaces only."""
    if multiprocessing.parent_process() is not None:
        signal.signal(
            signal.SIGINT, signal.SIG_IGN
        )  # Ctrl-C reaches all processes of a terminal; the main one cleans up
    return PolicyRollout(MultiProcessingSyncWrapper(make_cartpole(), task_queue, update_queue))


class _Run:
    """What a training has seen so far."""

    def __init__(self, name: str, number: int, seconds: float, search: RandomSearch) -> None:
        self.name, self.number, self.seconds, self.search = name, number, seconds, search
        self.episodes = self.steps = 0
        self.policies = [(0, search.parameters)]  # environment steps so far, and the policy, after each generation
        self._started = time.monotonic()
        self._shown = -SHOW_INTERVAL

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self._started

    def generation(
        self, envs: gym.vector.VectorEnv, candidates: np.ndarray, show: Callable[[], None]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Run each candidate for an episode, ``NUM_ENVS`` at a time, or as many as time allows: task ids, returns."""
        tasks, returns = [], []
        for actions in np.split(candidates, len(candidates) // NUM_ENVS):
            if self.elapsed >= self.seconds:
                break
            places, episode_returns, _, _, infos = envs.step(actions)
            tasks.append(places @ [len(FORCES), 1])
            returns.append(episode_returns)
            self.episodes += NUM_ENVS
            self.steps += int(infos["steps"].sum())
            if self.elapsed - self._shown >= SHOW_INTERVAL:
                self._shown = self.elapsed
                show()
        return np.concatenate(tasks or [[]]), np.concatenate(returns or [[]])

    def progress(self, distribution: np.ndarray) -> Progress:
        return Progress(
            name=self.name,
            number=self.number,
            of=len(CURRICULA),
            elapsed=self.elapsed,
            seconds=self.seconds,
            episodes=self.episodes,
            steps=self.steps,
            generations=len(self.policies) - 1,
            distribution=distribution,
            task_returns=self.search.task_returns,
        )

    def result(self, seconds: float, episodes_per_task: np.ndarray) -> Result:
        """Evaluate policies evenly spaced over the training, the last among them."""
        chosen = np.unique(np.linspace(0, len(self.policies) - 1, CURVE_POINTS).astype(int))
        points = [self.policies[i] for i in chosen]
        return Result(
            name=self.name,
            seconds=seconds,
            episodes_per_task=episodes_per_task,
            curve_steps=np.array([steps for steps, _ in points]),
            curve_returns=np.array([evaluate(parameters) for _, parameters in points]),
        )


def train(name: str, number: int, seconds: float, seed: int, view: View) -> Result:
    """Train a policy for some seconds under a curriculum, and evaluate it on all tasks."""
    curriculum, task_queue, update_queue = make_multiprocessing_curriculum(CURRICULA[name](seed))
    try:
        make = functools.partial(make_env, task_queue, update_queue)
        envs = gym.vector.AsyncVectorEnv([make] * NUM_ENVS, context="forkserver")
        try:
            envs.reset(seed=seed)
            search = RandomSearch(NUM_PARAMETERS, NUM_TASKS, seed=seed)
            run = _Run(name, number, seconds, search)
            while run.elapsed < seconds:
                candidates = search.ask()
                tasks, returns = run.generation(
                    envs, candidates, lambda: view.show(run.progress(curriculum.distribution()))
                )
                if len(tasks) == len(candidates):  # time did not run out
                    search.tell(tasks, returns)
                    run.policies.append((run.steps, search.parameters))
            seconds = run.elapsed
            view.show(run.progress(curriculum.distribution()))
        finally:
            envs.close(terminate=sys.exc_info()[0] is not None)  # a worker that closes delivers its last reports
        statistics = curriculum.statistics().tasks
    finally:
        curriculum.close()
    episodes_per_task = np.zeros(NUM_TASKS, dtype=np.int64)
    episodes_per_task[statistics.tasks] = statistics.num_episodes
    if episodes_per_task.sum() != run.episodes:
        raise RuntimeError(f"the service counted {episodes_per_task.sum()} episodes, the learner ran {run.episodes}")
    return run.result(seconds, episodes_per_task)


def main(arguments: list[str] | None = None) -> int:
    """Run the demo. Returns the exit status: 130 after Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m examples.demo", description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=_positive, default=50.0, help="training time per curriculum (default: 50)")
    parser.add_argument("--seed", type=int, default=1, help="of tasks, starts and search directions (default: 1)")
    parser.add_argument(
        "--output", type=Path, default=Path("demo-output"), help="folder of picture and figures (default: demo-output)"
    )
    options = parser.parse_args(arguments)
    multiprocessing.set_forkserver_preload(PRELOADED)
    try:
        with open_view() as view:
            view.say(
                f"{NUM_TASKS} tasks: CartPole-v1 with another pole and another motor in each; best return {MAX_STEPS}. "
                f"{NUM_ENVS} environment processes, {options.seconds:g} s per curriculum."
            )
            results = [
                train(name, number, options.seconds, options.seed, view) for number, name in enumerate(CURRICULA, 1)
            ]
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    print_table(results, Console(soft_wrap=not sys.stdout.isatty(), width=None if sys.stdout.isatty() else 120))
    options.output.mkdir(parents=True, exist_ok=True)
    write_figures(results, options.output / "results.json")
    draw_picture(results, options.output / "mean-return-per-task.png")
    print(f"\npicture: {options.output / 'mean-return-per-task.png'}\nfigures: {options.output / 'results.json'}")
    return 0


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a positive number of seconds, got {text}")
    return value


if __name__ == "__main__":
    sys.exit(main())
