"""A worker: runs the learner's policies on the tasks that the service hands out.

``python -m examples.cluster.worker --help``. The service and the curriculum come from SYLLABUS_TARGET and
SYLLABUS_CURRICULUM.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from examples.cartpole_family import FORCES, make_cartpole
from examples.cluster.exchange import Exchange
from examples.policy_rollout import PolicyRollout
from syllabus_client import GymnasiumSyncWrapper


def main(arguments: list[str] | None = None) -> int:
    """Run until the learner has finished. Prints what this worker reported to the service."""
    parser = argparse.ArgumentParser(prog="python -m examples.cluster.worker", description=__doc__.splitlines()[0])
    parser.add_argument("--exchange", type=Path, required=True, help="folder shared with the learner")
    parser.add_argument("--worker", type=int, required=True, help="this worker's number, from 0")
    parser.add_argument("--workers", type=int, required=True, help="how many workers there are")
    parser.add_argument("--timeout", type=float, default=60.0, help="seconds to wait for the learner (default: 60)")
    options = parser.parse_args(arguments)
    exchange = Exchange(options.exchange)
    env = PolicyRollout(GymnasiumSyncWrapper(make_cartpole(), env_id=options.worker))
    env.reset(seed=options.worker)
    episodes, return_sum = 0, 0.0
    try:
        for generation in exchange.generations(options.timeout):
            tasks, returns, steps = [], [], 0
            for policy in generation.policies[options.worker :: options.workers]:
                place, episode_return, _, _, info = env.step(policy)
                tasks.append(int(place[0]) * len(FORCES) + int(place[1]))
                returns.append(episode_return)
                steps += info["steps"]
            episodes, return_sum = episodes + len(returns), return_sum + sum(returns)
            exchange.deliver(generation, options.worker, tasks, returns, steps)
    finally:
        env.close()  # delivers the last reports
    print(f"worker {options.worker}: {episodes} episodes, sum of returns {return_sum:.0f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
