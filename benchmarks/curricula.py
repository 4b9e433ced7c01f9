"""Cost of drawing and updating, and memory, of every built-in curriculum as the number of tasks grows.

    python -m benchmarks.curricula [--quick] [--only NAME ...] [--sizes 1000 10000 100000 1000000] [--json FILE]

Each round draws a batch of tasks, runs an episode of each, and reports them as columns: what one command of the service
does. Where the learner has something to say, it says so between rounds. The table holds CPU microseconds of the thread
a task, of a draw and an update (the episodes and what the learner says): means over all rounds of a run, and of such
runs the medians.

A run has at least 50 rounds, as many as tasks are drawn before a distribution that may be old is built anew (245 at
1,000,000 tasks), and as many as there are from one word of the learner to the next, so that what is done only now and
then counts with its share. Every run begins with the same state, prepared before and not measured: all tasks known or
all slots full, unless the label says that it begins with nothing. Runs of the sizes take turns. `growth` is the largest
ratio of draw + update at a size to the smallest size's in the same round.

Bytes a task are what the curriculum alone holds at the largest size; neither its task space nor what a service keeps of
a task are in it: for that, and the budget of memory, see `benchmarks.memory`.
"""

from __future__ import annotations

import argparse
import time
import tracemalloc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benchmarks.harness import Arm, Comparison, Run, Window
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
from syllabus_service.curricula.lazy_distribution import EXACT_UP_TO

BATCH = 1024
WARM_UP_ROUNDS = 3
SIZES = (1_000, 10_000, 100_000, 1_000_000)
BUDGET_US, BUDGET_GROWTH = 20.0, 4.0
_FILL_BATCH = 65_536

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


def fill_slots(curriculum: Curriculum, batch: EpisodeBatch, rng: np.random.Generator) -> None:
    """Play until every slot of a buffer has a task."""
    buffer: Any = curriculum
    slots = curriculum.num_tasks // 2
    while len(buffer.buffered_tasks()) < slots:
        tasks = curriculum.draw(min(_FILL_BATCH, slots)).tasks
        curriculum.update_on_episodes(episodes(tasks, rng, scored=True))


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
    Scenario("prioritized_level_replay", "scores of episodes, begins with nothing", scored=True),
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
        "buffer of N/2 of N, full",
        params_of_size=lambda n: {"buffer_size": n // 2, "replay_schedule": "fixed"},
        prepare=fill_slots,
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


def episodes(
    tasks: np.ndarray, rng: np.random.Generator, *, scored: bool = False, agents: tuple[str, ...] = ()
) -> EpisodeBatch:
    n = len(tasks)
    return EpisodeBatch(
        tasks=tasks,
        episode_returns=rng.random(n) - 0.5,
        lengths=rng.integers(1, 100, size=n),
        progress=np.round(rng.random(n)),
        env_ids=np.arange(n),
        metrics={"score": rng.random(n)} if scored else {},
        agents=agents,
        agent_returns=rng.random((n, len(agents))) if agents else None,
    )


def play(scenario: Scenario, curriculum: Curriculum, n: int, rounds: int) -> dict[str, float]:
    """Play so many rounds; return the mean costs a task."""
    rng = np.random.default_rng(1)
    draw = update = 0.0
    tasks = 0
    every = scenario.every(n)
    for played in range(rounds):
        start = time.thread_time()
        drawn = curriculum.draw(BATCH)
        draw += time.thread_time() - start
        batch = episodes(drawn.tasks, rng, scored=scenario.scored, agents=scenario.agents)
        start = time.thread_time()
        curriculum.update_on_episodes(batch)
        if scenario.learner is not None and played % every == every - 1:
            scenario.learner(curriculum, batch, rng)
        update += time.thread_time() - start
        tasks += len(drawn)
    draw_us, update_us = draw / tasks * 1e6, update / tasks * 1e6
    return {"draw_us": draw_us, "update_us": update_us, "cost_us": draw_us + update_us, "rounds": float(rounds)}


def prepare(scenario: Scenario, n: int) -> Curriculum:
    """A curriculum after its first rounds, which build and touch all it holds."""
    space = scenario.space(n)
    rng = np.random.default_rng(0)
    curriculum = create(scenario.curriculum, space, {**scenario.params, **scenario.params_of_size(n)}, seed=0)
    if scenario.prepare is not None:
        scenario.prepare(curriculum, episodes(space.sample(1, rng), rng, agents=scenario.agents), rng)
    play(scenario, curriculum, n, WARM_UP_ROUNDS)
    return curriculum


def bytes_per_task(scenario: Scenario, n: int) -> float:
    """What a curriculum holds."""
    tracemalloc.start()
    held: Curriculum | None = prepare(scenario, n)
    size = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    del held
    return size / n


def rounds_of_run(scenario: Scenario, n: int, quick: bool) -> int:
    """How many rounds show what is done only now and then with its share."""
    if quick:
        return 3
    oldest = n // 4 if n > EXACT_UP_TO else 0
    return max(50, -(-oldest // BATCH), scenario.every(n) if scenario.learner else 0)


def arm(scenario: Scenario, n: int, quick: bool) -> Arm:
    """Runs of one scenario and size, each from the same state."""
    curriculum = prepare(scenario, n)
    state = curriculum.state_dict()
    rounds = rounds_of_run(scenario, n, quick)

    def run() -> Run:
        curriculum.load_state_dict(state)
        play(scenario, curriculum, n, WARM_UP_ROUNDS)
        with Window() as window:
            values = play(scenario, curriculum, n, rounds)
        return Run(values, window.noise)

    return Arm(str(n), run)


@dataclass(frozen=True)
class Measured:
    """What came of one scenario."""

    comparison: Comparison
    bytes_per_task: float
    worst_us: float
    """The most that a task costs at any size."""
    growth: float
    """The largest growth from the smallest size to any other."""

    @property
    def within_budget(self) -> bool:
        return self.worst_us < BUDGET_US and self.growth < BUDGET_GROWTH

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        figures = {"bytes_per_task": self.bytes_per_task, "worst_us": self.worst_us, "growth": self.growth}
        return {**figures, "within_budget": self.within_budget, **self.comparison.to_json()}


def measure(scenario: Scenario, sizes: Sequence[int], options: Options) -> Measured:
    """Run all sizes of a scenario."""
    names = [str(n) for n in sizes]
    pairs = [(name, names[0]) for name in names[1:]]
    comparison = options.compare([arm(scenario, n, options.quick) for n in sizes], pairs)
    growths = [ratio.median for pair in pairs if (ratio := comparison.ratio("cost_us", *pair))]
    worst = max(comparison.spread(name, "cost_us").median for name in names)
    return Measured(comparison, bytes_per_task(scenario, sizes[-1]), worst, max(growths, default=1.0))


def row(name: str, measured: Measured) -> list[str]:
    """Its row of the table."""
    comparison = measured.comparison
    tilde = "" if comparison.is_complete(comparison.arms) else "~"
    cells = [
        tilde + " + ".join(f"{comparison.spread(size, figure).median:.2f}" for figure in ("draw_us", "update_us"))
        for size in comparison.arms
    ]
    over = "" if measured.within_budget else " (over)"
    return [name + over, *cells, f"{tilde}{measured.growth:.1f}", f"{measured.bytes_per_task:.0f}"]


def run(options: Options) -> Result:
    """Measure the scenarios, one after the other, each in its share of the time."""
    only, sizes = options.arguments.only, options.arguments.sizes
    if options.quick:
        sizes = [100, 1_000]
    chosen = [scenario for scenario in SCENARIOS if not only or scenario.curriculum in only]
    measured = {
        scenario.name: measure(scenario, sizes, options.share(1 / (len(chosen) - number)))
        for number, scenario in enumerate(chosen)
    }
    over = [name for name, each in measured.items() if not each.within_budget]
    missing = sorted(set(names()) - {scenario.curriculum for scenario in SCENARIOS}) if not only else []
    comparisons = [each.comparison for each in measured.values()]
    tries = sum(len(each.runs(size)) for each in comparisons for size in each.arms)
    counting = sum(len(each.accepted(size)) for each in comparisons for size in each.arms)
    notes = [f"Not measured: {', '.join(missing)}."] if missing else []
    notes.append(f"Runs: {tries} tries, {tries - counting} discarded.")
    if incomplete := [each for each in comparisons if not each.is_complete(each.arms)]:
        late = sum(each.out_of_time for each in incomplete)
        notes.append(
            f"Too few runs count in {len(incomplete)} rows, in {late} of them for want of time: the figures marked ~ "
            "are of all runs."
        )
    worst, growth = max(each.worst_us for each in measured.values()), max(each.growth for each in measured.values())
    verdict = Verdict(
        f"drawing and updating at {sizes[0]:,} to {sizes[-1]:,} tasks, every built-in curriculum with a distribution",
        f"under {BUDGET_US:.0f} us a task in batches of {BATCH:,}; from {sizes[0]:,} tasks on the cost grows less than "
        f"{BUDGET_GROWTH:.0f} x",
        f"at most {number(worst)} us, growth at most {growth:.1f}; over: {', '.join(over) or 'none'}",
        not over,
        bool(incomplete),
    )
    header = [
        f"CPU us a task, batches of {BATCH:,}",
        *(f"{n:,}: draw + update" for n in sizes),
        "growth, at most",
        "bytes, curriculum alone",
    ]
    question = "cost of drawing and updating a task, and bytes a task, by number of tasks"
    rows = [row(name, each) for name, each in measured.items()]
    data = {"scenarios": {name: each.to_json() for name, each in measured.items()}}
    return Result("curricula", question, header, rows, [verdict], notes, data)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What only this program has."""
    parser.add_argument("--only", nargs="+", default=[], help="registered names; default: all")
    parser.add_argument("--sizes", nargs="+", type=int, default=list(SIZES), help="numbers of tasks, ascending")


if __name__ == "__main__":
    run_program(__doc__, run, max_rounds=5, add_arguments=add_arguments)
