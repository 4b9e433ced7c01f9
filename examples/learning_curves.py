"""Learning curves: the same PPO under several curricula, some seeds each, evaluated on every task of one family."""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from gymnasium.wrappers.vector import RecordEpisodeStatistics

from examples.cartpole_family import NUM_TASKS, task_space
from examples.cleanrl_ppo import Agent, learn
from examples.vectorised_cartpole import VectorCartPoleFamily
from examples.vectorised_rollout import Collector
from syllabus_client import VectorSyncWrapper, make_multiprocessing_curriculum
from syllabus_service.curricula import create

#: The curricula that can be compared, with their parameters.
CURRICULA = {
    "domain_randomization": {},
    "prioritized_level_replay": {"gamma": 0.99},
    "online_learning_progress": {"update_interval": 100},
}
PPO = argparse.Namespace(
    learning_rate=1e-3,
    gamma=0.99,
    gae_lambda=0.95,
    num_minibatches=8,
    update_epochs=4,
    clip_coef=0.2,
    ent_coef=0.0,
    vf_coef=0.5,
    max_grad_norm=0.5,
)
NUM_ENVS, NUM_STEPS = 256, 64
EPISODES_PER_TASK = 4


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """What to train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--total-timesteps", type=int, default=700_000, help="of each run")
    parser.add_argument("--seeds", type=int, default=3, help="how many runs of each curriculum")
    parser.add_argument(
        "--curricula", nargs="+", choices=CURRICULA, default=["domain_randomization", "prioritized_level_replay"]
    )
    parser.add_argument("--points", type=int, default=14, help="how many evaluations in a run")
    parser.add_argument("--output", type=Path, default=Path("learning-curves"), help="a directory")
    parser.add_argument("--run", nargs=2, metavar=("CURRICULUM", "SEED"), help="only this run, to standard output")
    return parser.parse_args(arguments)


def evaluate(agent: Agent) -> tuple[float, float]:
    """The most probable actions on every task, outside of any curriculum: the mean return, and the share of episodes
    that stood until the time limit. The episodes are the same at each call."""
    envs = VectorCartPoleFamily(NUM_TASKS * EPISODES_PER_TASK)
    space = task_space()
    everyone = np.ones(envs.num_envs, dtype=bool)
    envs.set_tasks(everyone, space.decode_many(space.from_index(np.arange(NUM_TASKS))) * EPISODES_PER_TASK)
    observations, _ = envs.reset(seed=10_000)
    returns, running, stood = np.zeros(envs.num_envs), everyone.copy(), np.zeros(envs.num_envs, dtype=bool)
    while running.any():
        with torch.no_grad():
            actions = agent.policy(torch.as_tensor(observations)).probs.argmax(-1)
        observations, rewards, terminated, truncated, _ = envs.step(actions.numpy())
        returns += rewards * running
        stood |= running & truncated
        running &= ~(terminated | truncated)
    envs.close()
    return float(returns.mean()), float(stood.mean())


def train(name: str, seed: int, total_timesteps: int, points: int) -> dict:
    """One run. Steps, mean returns and success rates of its evaluations, and what it cost."""
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    curriculum, task_queue, _ = make_multiprocessing_curriculum(create(name, task_space(), CURRICULA[name], seed=seed))
    envs = RecordEpisodeStatistics(VectorSyncWrapper(VectorCartPoleFamily(NUM_ENVS), task_queue))
    agent = Agent(envs.single_observation_space.shape[0], 2)
    optimizer = torch.optim.Adam(agent.parameters(), lr=PPO.learning_rate, eps=1e-5)
    collector = Collector(envs, agent, seed)
    iterations = total_timesteps // (NUM_ENVS * NUM_STEPS)
    evaluated = np.unique(np.linspace(0, iterations, points + 1).round().astype(int)).tolist()
    curve = [(0, *evaluate(agent))]
    for iteration in range(1, iterations + 1):
        rollout, next_value = collector.collect(NUM_STEPS)
        learn(agent, optimizer, rollout, next_value, PPO)
        if name == "prioritized_level_replay":
            columns = {column: rollout[column] for column in ("tasks", "rewards", "values", "dones")}
            curriculum.custom_update(**columns, next_value=next_value)
        if iteration in evaluated:
            curve.append((iteration * NUM_ENVS * NUM_STEPS, *evaluate(agent)))
    envs.close()
    statistics = curriculum.statistics()
    curriculum.close()
    steps, returns, success = zip(*curve, strict=True)
    return {
        "curriculum": name,
        "seed": seed,
        "steps": steps,
        "returns": returns,
        "success": success,
        "episodes": int(statistics.total.num_episodes[0]),
        "cpu_seconds": sum(
            usage.ru_utime + usage.ru_stime
            for usage in (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
        ),
    }


def draw(runs: list[dict], path: Path) -> None:
    """Mean over seeds, and the range from the worst to the best."""
    import matplotlib  # heavy, and only needed at the end

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(13, 5.2), layout="constrained")
    for name, colour in zip(CURRICULA, ("tab:gray", "tab:orange", "tab:blue"), strict=True):
        mine = [run for run in runs if run["curriculum"] == name]
        if not mine:
            continue
        millions = np.array(mine[0]["steps"]) / 1e6
        for axis, column in zip(axes, ("returns", "success"), strict=True):
            curves = np.array([run[column] for run in mine])
            axis.fill_between(millions, curves.min(axis=0), curves.max(axis=0), color=colour, alpha=0.18, lw=0)
            axis.plot(millions, curves.mean(axis=0), color=colour, lw=2, label=name)
    seeds = len({run["seed"] for run in runs})
    figure.suptitle(f"PPO on CartPole-v1, 10 pole lengths × 10 forces: mean, worst and best of {seeds} seeds")
    for axis, label in zip(axes, ("mean return over all tasks (of 500)", "share of episodes that stand"), strict=True):
        axis.set_xlabel("environment steps (millions)")
        axis.set_ylabel(label)
        axis.grid(alpha=0.3)
    axes[0].legend(loc="lower right")
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def main(args: argparse.Namespace) -> None:
    """Train every curriculum with every seed, one run after the other, each in a process of its own."""
    if args.run:
        print(json.dumps(train(args.run[0], int(args.run[1]), args.total_timesteps, args.points)))
        return
    args.output.mkdir(parents=True, exist_ok=True)
    runs = []
    for seed in range(1, args.seeds + 1):
        for name in args.curricula:
            program = [sys.executable, "-m", "examples.learning_curves", "--run", name, str(seed)]
            program += ["--total-timesteps", str(args.total_timesteps), "--points", str(args.points)]
            runs.append(json.loads(subprocess.run(program, check=True, stdout=subprocess.PIPE).stdout))
            last = runs[-1]
            print(
                f"{name}, seed {seed}: mean return {last['returns'][-1]:.1f}, {last['success'][-1]:.1%} stand, "
                f"{last['episodes']} episodes, {last['cpu_seconds']:.0f} s of CPU",
                flush=True,
            )
            (args.output / "learning-curves.json").write_text(json.dumps(runs, indent=1) + "\n")
    draw(runs, args.output / "learning-curves.png")


if __name__ == "__main__":
    main(parse())
