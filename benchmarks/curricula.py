"""Cost of drawing and updating, and memory, of every built-in curriculum as the number of tasks grows.

    python -m benchmarks.curricula [--quick] [--only NAME ...] [--sizes 1000 1000000] [--json FILE]

Each round draws a batch of tasks, runs an episode of each, and reports them as columns: what one command of the service
does. Where the learner has something to say, it says so between rounds. The table holds CPU microseconds of the thread
a task, of a draw and an update (the episodes and what the learner says): means over all rounds of a run, so that what
is done only now and then counts with its share, and of such runs the medians. Runs of the sizes take turns. `growth` is
that of draw + update from the smallest to the largest size. Bytes a task are what the curriculum holds after the first
rounds; its task space is not counted.
"""

from __future__ import annotations

import argparse
import time
import tracemalloc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from benchmarks.harness import Arm, Run, Window, compare
from benchmarks.harness.program import Options, run_program
from benchmarks.harness.results import Result, Verdict, number
from syllabus_client.task_spaces import (
    BoxTaskSpace,
    DiscreteTaskSpace,
    MultiDiscreteTaskSpace,
    StratifiedDiscreteTaskSpace,
    TaskSpace,
)
from syllabus_service.curricula import Curriculum, EpisodeBatch, create, names
from syllabus_service.curricula.dual import Dual

BATCH = 1024
SIZES = (1_000, 1_000_000)
BUDGET_US, BUDGET_GROWTH, BUDGET_BYTES = 20.0, 4.0, 100.0

Learner = Callable[[Curriculum, EpisodeBatch, np.random.Generator], Any]


def discrete(n: int) -> TaskSpace:
    return DiscreteTaskSpace(n)


def stratified(n: int) -> TaskSpace:
    return StratifiedDiscreteTaskSpace(n, np.arange(n) % 100)


def box(n: int) -> TaskSpace:
    return BoxTaskSpace(np.zeros(2), np.ones(2))


def product(n: int) -> TaskSpace:
    return MultiDiscreteTaskSpace([n // 8, 8])


def interestingness(n: int) -> dict[str, Any]:
    return {"interestingness": {task: {task + 1: False} for task in range(0, min(n, 100_000) - 1, 2)}}


@dataclass(frozen=True)
class Scenario:
    """One way of using a curriculum."""

    curriculum: str
    label: str = ""
    params: Mapping[str, Any] = field(default_factory=dict)
    params_of_size: Callable[[int], Mapping[str, Any]] = lambda n: {}
    space: Callable[[int], TaskSpace] = discrete
    prepare: Learner | None = None
    """Before the first round, once; not measured."""
    learner: Learner | None = None
    """After the episodes of a round; measured as a part of the update."""
    every: Callable[[int], int] = lambda n: 1
    """Rounds from one call of ``learner`` to the next."""
    scored: bool = False
    """Whether episodes carry the metric ``score``."""
    agents: tuple[str, ...] = ()
    """The agents of episodes."""

    @property
    def name(self) -> str:
        return f"{self.curriculum} ({self.label})" if self.label else self.curriculum


def evaluate_all(curriculum: Curriculum, batch: EpisodeBatch, rng: np.random.Generator) -> None:
    curriculum.custom_update(success_rates=rng.random(curriculum.num_tasks))


def evaluate_batch(curriculum: Curriculum, batch: EpisodeBatch, rng: np.random.Generator) -> None:
    tasks = np.unique(batch.tasks)
    curriculum.custom_update(success_rates=rng.random(len(tasks)), tasks=tasks)


def score_all(curriculum: Curriculum, batch: EpisodeBatch, rng: np.random.Generator) -> None:
    for start in range(0, curriculum.num_tasks, 100_000):
        tasks = np.arange(start, min(start + 100_000, curriculum.num_tasks))
        curriculum.custom_update(tasks=tasks, scores=rng.random(len(tasks)))


def rollout(curriculum: Curriculum, batch: EpisodeBatch, rng: np.random.Generator) -> None:
    """One step of one episode of each task of the batch."""
    shape = (1, len(batch))
    curriculum.custom_update(
        tasks=batch.tasks[np.newaxis],
        rewards=rng.random(shape),
        values=rng.random(shape),
        next_value=rng.random(len(batch)),
        dones=np.ones(shape, dtype=bool),
    )


def add_tasks(curriculum: Curriculum, batch: EpisodeBatch, rng: np.random.Generator) -> None:
    curriculum.custom_update(tasks=rng.integers(curriculum.num_tasks, size=BATCH))


def new_batch(curriculum: Curriculum, batch: EpisodeBatch, rng: np.random.Generator) -> None:
    curriculum.custom_update(update=True)


def add_agents(curriculum: Curriculum, batch: EpisodeBatch, rng: np.random.Generator) -> None:
    """As many agents, of 8 bytes, as are kept, loaded at once."""
    pool: Any = curriculum.inner[1] if isinstance(curriculum, Dual) else curriculum
    state = pool.state_dict()
    state["fields"]["agents"] = [agent.to_bytes(8, "little") for agent in range(pool.max_agents)]
    state["fields"]["num_added"] = pool.max_agents
    pool.load_state_dict(state)


def once_in_all_tasks(n: int) -> int:
    return max(1, n // BATCH)


LEARNERS = ("learning_progress", "learnability", "omni", "omni_learnability")
STRATIFIED = ("stratified_learning_progress", "stratified_learnability", "stratified_domain_randomization")

PLR = {"algorithm": "prioritized_level_replay"}
AGENTS = ("first", "second")

SCENARIOS = [
    Scenario("constant", params={"default_task": 3}),
    Scenario("domain_randomization"),
    Scenario("batched_domain_randomization", params={"batch_size": 100_000}),
    Scenario("synced_batched_domain_randomization", learner=new_batch),
    Scenario("manual", prepare=add_tasks, learner=add_tasks),
    *(
        Scenario(name, label, params, of_size, space, evaluate_all, learner, every)
        for names_, space in ((LEARNERS, discrete), (STRATIFIED, stratified))
        for name in names_
        for of_size in (interestingness if name.startswith("omni") else (lambda n: {}),)
        for label, params, learner, every in (
            ("evaluations of all tasks", {}, evaluate_all, once_in_all_tasks),
            ("evaluations of each batch", {}, evaluate_batch, lambda n: 1),
            ("episodes", {"update_interval": BATCH}, None, lambda n: 1),
        )
    ),
    Scenario("online_learning_progress"),
    Scenario("online_learning_progress", "update_interval=1024", {"update_interval": BATCH}),
    Scenario("stratified_online_learning_progress", space=stratified),
    Scenario("prioritized_level_replay", "scores of episodes, all seen", prepare=score_all, scored=True),
    Scenario("prioritized_level_replay", "scores of episodes, from the start", scored=True),
    Scenario(
        "prioritized_level_replay",
        "scores of the learner",
        prepare=score_all,
        learner=score_all,
        every=once_in_all_tasks,
    ),
    Scenario("prioritized_level_replay", "rollouts", prepare=score_all, learner=rollout),
    Scenario(
        "prioritized_level_replay",
        "buffer of N/2 of N",
        params_of_size=lambda n: {"buffer_size": n // 2, "replay_schedule": "fixed"},
        scored=True,
    ),
    Scenario("robust_prioritized_level_replay", "scores of episodes", prepare=score_all, scored=True),
    Scenario("self_play", prepare=add_agents),
    Scenario("fictitious_self_play", prepare=add_agents),
    Scenario("prioritized_fictitious_self_play", prepare=add_agents),
    Scenario(
        "sequential",
        params={
            "stages": [{"algorithm": "online_learning_progress"}, {"algorithm": "domain_randomization"}],
            "stopping_conditions": ["episodes>=1000000000"],
        },
    ),
    Scenario("expanding_box", space=box),
    Scenario(
        "simulated_annealing",
        params={"start_values": [0.0, 0.5], "end_values": [1.0, 0.5], "total_steps": 10**9},
        space=box,
    ),
    Scenario(
        "dual",
        "level replay x prioritized self-play",
        {"env_curriculum": PLR, "agent_curriculum": {"algorithm": "prioritized_fictitious_self_play"}},
        space=product,
        prepare=add_agents,
        scored=True,
    ),
    Scenario(
        "multi_agent_shared",
        "online learning progress",
        {"curriculum": {"algorithm": "online_learning_progress"}, "possible_agents": AGENTS},
        agents=AGENTS,
    ),
    Scenario(
        "multi_agent_independent",
        "online learning progress",
        {"curricula": {"algorithm": "online_learning_progress"}, "possible_agents": AGENTS},
        space=product,
        agents=AGENTS,
    ),
]


def episodes(tasks: np.ndarray, rng: np.random.Generator, scenario: Scenario) -> EpisodeBatch:
    n = len(tasks)
    return EpisodeBatch(
        tasks=tasks,
        episode_returns=rng.random(n) - 0.5,
        lengths=rng.integers(1, 100, size=n),
        progress=np.round(rng.random(n)),
        env_ids=np.arange(n),
        metrics={"score": rng.random(n)} if scenario.scored else {},
        agents=scenario.agents,
        agent_returns=rng.random((n, len(scenario.agents))) if scenario.agents else None,
    )


def play(scenario: Scenario, curriculum: Curriculum, n: int, rounds: int, seconds: float) -> dict[str, float]:
    """Play rounds, at least ``rounds`` unless ``seconds`` of CPU time are used up; return the mean costs a task."""
    rng = np.random.default_rng(1)
    draw = update = 0.0
    tasks = played = 0
    every = scenario.every(n)
    while played < rounds and draw + update < seconds:
        start = time.thread_time()
        drawn = curriculum.draw(BATCH)
        draw += time.thread_time() - start
        batch = episodes(drawn.tasks, rng, scenario)
        start = time.thread_time()
        curriculum.update_on_episodes(batch)
        if scenario.learner is not None and played % every == every - 1:
            scenario.learner(curriculum, batch, rng)
        update += time.thread_time() - start
        played += 1
        tasks += len(drawn)
    draw_us, update_us = draw / tasks * 1e6, update / tasks * 1e6
    return {"draw_us": draw_us, "update_us": update_us, "cost_us": draw_us + update_us, "rounds": played}


def prepare(scenario: Scenario, n: int, seconds: float) -> tuple[Curriculum, float]:
    """A curriculum after its first rounds, and the bytes a task that it holds."""
    space = scenario.space(n)
    params = {**scenario.params, **scenario.params_of_size(n)}
    rng = np.random.default_rng(0)
    nothing = episodes(space.sample(1, rng), rng, scenario)
    tracemalloc.start()
    curriculum = create(scenario.curriculum, space, params, seed=0)
    if scenario.prepare is not None:
        scenario.prepare(curriculum, nothing, rng)
    play(scenario, curriculum, n, 3, seconds)  # the first build and the first touch of memory, too
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return curriculum, held / n


def arm(scenario: Scenario, curriculum: Curriculum, n: int, seconds: float, quick: bool) -> Arm:
    """Runs of one scenario and size."""
    # Twice as many draws as a distribution may be old, so that building it anew counts with its share.
    rounds = 3 if quick else max(100, once_in_all_tasks(n) // 2 + 2, scenario.every(n) if scenario.learner else 0)

    def run() -> Run:
        with Window() as window:
            values = play(scenario, curriculum, n, rounds, seconds)
        return Run(values, window.noise)

    return Arm(str(n), run)


def measure(scenario: Scenario, sizes: Sequence[int], options: Options) -> tuple[list[str], dict[str, Any], bool]:
    """The row of a scenario, its figures, and whether it keeps the budget."""
    seconds = options.arguments.seconds / options.rule.accepted
    prepared = [prepare(scenario, n, seconds) for n in sizes]
    arms = [arm(scenario, each, n, seconds, options.quick) for n, (each, _) in zip(sizes, prepared, strict=True)]
    comparison = compare(arms, options.rule)
    last = str(sizes[-1])
    held = prepared[-1][1]
    growth = comparison.ratio("cost_us", last, str(sizes[0]))
    kept = (
        comparison.spread(last, "cost_us").median < BUDGET_US and growth.median < BUDGET_GROWTH and held < BUDGET_BYTES
    )
    cells = [
        " + ".join(f"{comparison.spread(str(n), name).median:.2f}" for name in ("draw_us", "update_us")) for n in sizes
    ]
    tilde = "~" if growth.noisy else ""
    name = scenario.name if kept else f"{scenario.name} (over)"
    row = [name, *(tilde + cell for cell in cells), f"{tilde}{growth.median:.1f}", f"{held:.0f}"]
    figures = {"bytes_per_task": held, "growth": asdict(growth), "within_budget": kept, **comparison.to_json()}
    return row, figures, kept


def run(options: Options) -> Result:
    """Measure the scenarios, one after the other."""
    only, sizes = options.arguments.only, options.arguments.sizes
    if options.quick:
        sizes = [100, 1_000]
    chosen = [scenario for scenario in SCENARIOS if not only or scenario.curriculum in only]
    measured = {scenario.name: measure(scenario, sizes, options) for scenario in chosen}
    over = [name for name, (_, _, kept) in measured.items() if not kept]
    missing = sorted(set(names()) - {scenario.curriculum for scenario in SCENARIOS}) if not only else []
    notes = [f"Not measured: {', '.join(missing)}"] if missing else []
    figures = {name: each for name, (_, each, _) in measured.items()}
    arms = [each for one in figures.values() for each in one["arms"].values()]
    noisy = any(each["noisy"] for each in arms)
    tries, discarded = (sum(each[name] for each in arms) for name in ("tries", "discarded"))
    notes.append(
        f"Runs: {tries} tries, {discarded} discarded.{' NOISY: ~ marks figures of all runs.' if noisy else ''}"
    )
    worst = max(each["arms"][str(sizes[-1])]["figures"]["cost_us"]["median"] for each in figures.values())
    growth = max(each["growth"]["median"] for each in figures.values())
    verdict = Verdict(
        f"drawing and updating at {sizes[-1]:,} tasks, every built-in curriculum with a distribution",
        f"under {BUDGET_US:.0f} us a task in batches of {BATCH:,}; from 1,000 tasks on the cost grows less than "
        f"{BUDGET_GROWTH:.0f} x",
        f"at most {number(worst)} us, growth at most {growth:.1f}; over: {', '.join(over) or 'none'}",
        not over,
        noisy,
    )
    header = [f"CPU us a task, batches of {BATCH:,}", *(f"{n:,}: draw + update" for n in sizes), "growth", "bytes"]
    question = "cost of drawing and updating a task, and bytes a task, by number of tasks"
    rows = [row for row, _, _ in measured.values()]
    return Result("curricula", question, header, rows, [verdict], notes, {"scenarios": figures})


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What only this program has."""
    parser.add_argument("--only", nargs="+", default=[], help="registered names; default: all")
    parser.add_argument("--sizes", nargs="+", type=int, default=list(SIZES), help="numbers of tasks, ascending")
    parser.add_argument("--seconds", type=float, default=4.0, help="most CPU seconds for one size of one scenario")


if __name__ == "__main__":
    run_program(__doc__, run, max_rounds=5, add_arguments=add_arguments)
