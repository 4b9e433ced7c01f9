"""How many episodes curricula need for the mastery that domain randomization reaches: a learner that is simulated.

    python -m benchmarks.simulated_learner [--quick] [--seeds 10] [--only NAME ...] [--json FILE]

The learner. There are 20 chains of 5 tasks, each the prerequisite of the next, and beside them 20 tasks that are solved
from the start and 200 that are impossible. Task i of a chain has a skill s(i) in [0, 1], at first 0.1. An episode of it
succeeds with probability s(i) s(i-1), the first of a chain with s(i). Every episode is practice, and practice helps as
far as the prerequisite is mastered: s(i) grows by 0.02 s(i-1) (1 - s(i)). So there is something to gain at a frontier
that moves along the chains, and an episode ahead of it, behind it, or of what is impossible is lost. Mastery is the
mean probability of success over the tasks of all chains. Nothing is forgotten; nothing else transfers between tasks.

The comparison. With each seed, domain randomization trains for 60,000 episodes; its mastery after 15,000, 30,000 and
60,000 of them are three goals. Each other curriculum trains the same learner until it has reached them all, or for
twice as long. 64 environments run at one time.

Learning progress and learnability are fed as in their papers, by evaluations of all tasks: after every 4,000 training
episodes, 10 or 4 episodes of each task without practice, so that the success rates they see are noisy. These episodes
are no training, but they are not free: the table counts them in the second figure. The others learn from the training
episodes alone. Prioritized level replay gets the scores that a perfect value estimate would give,
|outcome - probability of success|.

The table holds the median over the seeds of the number of episodes until each goal, as a share of domain
randomization's: of training episodes / of training and evaluation episodes. The arms' settings were chosen by trying
on seeds 0 and 1; the seeds reported are others.

What it does not show: the gain depends on how much domain randomization wastes. With fewer impossible tasks, or with a
goal near full mastery where all that is left is practice, it shrinks, and may turn into a loss.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benchmarks.harness.program import Options, run_program
from benchmarks.harness.results import Result
from syllabus_client.task_spaces import DiscreteTaskSpace
from syllabus_service.curricula import Curriculum, EpisodeBatch, create

ENVIRONMENTS = 64
CHAINS, LENGTH = 20, 5
SOLVED, IMPOSSIBLE = 20, 200
NUM_TASKS = CHAINS * LENGTH + SOLVED + IMPOSSIBLE
FIRST_SKILL, LEARNING_RATE = 0.1, 0.02
EVALUATION_EVERY = 4_000
GOALS = (15_000, 30_000, 60_000)
FIRST_SEED = 1_000


class Learner:
    """Skills, and what practice does to them."""

    def __init__(self) -> None:
        self.skill = np.full((CHAINS, LENGTH), FIRST_SKILL)

    def _prerequisite(self) -> np.ndarray:
        return np.hstack([np.ones((CHAINS, 1)), self.skill[:, :-1]])

    def success_probability(self) -> np.ndarray:
        """float64 (NUM_TASKS,)."""
        chains = (self.skill * self._prerequisite()).ravel()
        return np.concatenate([chains, np.ones(SOLVED), np.zeros(IMPOSSIBLE)])

    def practise(self, tasks: np.ndarray) -> None:
        """Practise tasks (n,), all from the same skills."""
        times = np.bincount(tasks, minlength=NUM_TASKS)[: CHAINS * LENGTH].reshape(CHAINS, LENGTH)
        self.skill = 1.0 - (1.0 - self.skill) * (1.0 - LEARNING_RATE * self._prerequisite()) ** times

    def mastery(self) -> float:
        return float(self.success_probability()[: CHAINS * LENGTH].mean())


@dataclass(frozen=True)
class Arm:
    """A curriculum and how it is fed."""

    curriculum: str
    label: str = ""
    params: Mapping[str, Any] = field(default_factory=dict)
    evaluation_episodes: int = 0
    """Episodes of each task in an evaluation; 0: it isn't evaluated."""

    @property
    def name(self) -> str:
        return f"{self.curriculum} ({self.label})" if self.label else self.curriculum


BASELINE = Arm("domain_randomization")
ARMS = [
    Arm("learning_progress", "evaluations of 10 episodes", evaluation_episodes=10),
    Arm("online_learning_progress"),
    Arm("online_learning_progress", "update_interval=1360", {"update_interval": 4 * NUM_TASKS}),
    Arm("learnability", "evaluations of 4, top 34", {"topk": NUM_TASKS // 10, "learnable_prob": 0.5}, 4),
    Arm("learnability", "evaluations of 4, proportional", {"sampling": "dist", "learnable_prob": 0.8}, 4),
    Arm("prioritized_level_replay"),
    Arm("prioritized_level_replay", "proportional to scores", {"score_transform": "power", "temperature": 1.0}),
]


@dataclass
class Run:
    """One training run: its course, by batch of episodes."""

    mastery: list[float] = field(default_factory=list)
    training: list[int] = field(default_factory=list)
    """Training episodes so far."""
    evaluation: list[int] = field(default_factory=list)
    """Evaluation episodes so far."""

    def until(self, goal: float) -> tuple[float, float]:
        """Episodes until the mastery is reached, without and with evaluations; infinite if it is never."""
        for mastery, training, evaluation in zip(self.mastery, self.training, self.evaluation, strict=True):
            if mastery >= goal:
                return training, training + evaluation
        return np.inf, np.inf


def train(arm: Arm, seed: int, episodes: int, until: float = np.inf) -> Run:
    """Train for so many episodes, or until the mastery is reached."""
    rng = np.random.default_rng([seed, 1])
    curriculum = create(arm.curriculum, DiscreteTaskSpace(NUM_TASKS), dict(arm.params), seed=seed)
    learner = Learner()
    run = Run()
    training = evaluation = next_evaluation = 0
    while training < episodes and learner.mastery() < until:
        if arm.evaluation_episodes > 0 and training >= next_evaluation:
            successes = rng.binomial(arm.evaluation_episodes, learner.success_probability())
            curriculum.custom_update(success_rates=successes / arm.evaluation_episodes)
            evaluation += NUM_TASKS * arm.evaluation_episodes
            next_evaluation += EVALUATION_EVERY
        step(curriculum, learner, rng)
        training += ENVIRONMENTS
        run.mastery.append(learner.mastery())
        run.training.append(training)
        run.evaluation.append(evaluation)
    return run


def step(curriculum: Curriculum, learner: Learner, rng: np.random.Generator) -> None:
    """Every environment runs an episode."""
    tasks = curriculum.sample(ENVIRONMENTS)
    probability = learner.success_probability()[tasks]
    success = (rng.random(ENVIRONMENTS) < probability).astype(np.float64)
    learner.practise(tasks)
    curriculum.update_on_episodes(
        EpisodeBatch(
            tasks=tasks,
            episode_returns=success,
            lengths=np.full(ENVIRONMENTS, 10),
            progress=success,
            env_ids=np.arange(ENVIRONMENTS),
            metrics={"score": np.abs(success - probability)},
        )
    )


def run(options: Options) -> Result:
    """Compare all arms with domain randomization. What comes out depends on the seeds alone, not on the machine."""
    seeds = range(FIRST_SEED, FIRST_SEED + options.count(options.arguments.seeds, 1))
    goals_after = tuple(number // 20 for number in GOALS) if options.quick else GOALS
    goals = []
    for seed in seeds:
        baseline = train(BASELINE, seed, goals_after[-1])
        goals.append([baseline.mastery[number // ENVIRONMENTS - 1] for number in goals_after])
    masteries = np.median(goals, axis=0)
    rows = [[f"{BASELINE.name}: mastery", *(f"{each:.3f}" for each in masteries)]]
    figures = {}
    for arm in ARMS:
        if options.arguments.only and arm.curriculum not in options.arguments.only:
            continue
        runs = [train(arm, seed, 2 * goals_after[-1], own[-1]) for seed, own in zip(seeds, goals, strict=True)]
        needed = np.array([[each.until(goal) for goal in own] for each, own in zip(runs, goals, strict=True)])
        shares = np.median(needed, axis=0) / np.array(goals_after)[:, np.newaxis]
        rows.append([arm.name, *(f"{a:.2f} / {b:.2f}" for a, b in shares)])
        figures[arm.name] = {"training": needed[:, :, 0].tolist(), "with_evaluation": needed[:, :, 1].tolist()}
    header = ["without / with evaluations", *(f"{number:,} episodes" for number in goals_after)]
    question = "episodes that curricula need for the mastery of domain randomization, as a share of its own"
    data = {"episodes": goals_after, "mastery": goals, "results": figures}
    return Result("simulated_learner", question, header, rows, [], [f"Medians of {len(seeds)} seeds."], data)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What only this program has."""
    parser.add_argument("--seeds", type=int, default=10, help="how many")
    parser.add_argument("--only", nargs="+", default=[], help="registered names; default: all")


if __name__ == "__main__":
    run_program(__doc__, run, timed=False, add_arguments=add_arguments)
