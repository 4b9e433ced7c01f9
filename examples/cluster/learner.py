"""The learner: random search over policies that the workers run, and a look at the curriculum now and then.

``python -m examples.cluster.learner --help``. The service and the curriculum come from SYLLABUS_TARGET and
SYLLABUS_CURRICULUM.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from examples.cartpole_family import NUM_TASKS
from examples.cluster.exchange import Exchange
from examples.linear_policy import NUM_PARAMETERS, evaluate
from examples.random_search import RandomSearch
from syllabus_client import CurriculumClient

LOOK_INTERVAL = 5.0
"""Seconds between two looks at the curriculum."""


def main(arguments: list[str] | None = None) -> int:
    """Train for some seconds, then tell the workers to end."""
    parser = argparse.ArgumentParser(prog="python -m examples.cluster.learner", description=__doc__.splitlines()[0])
    parser.add_argument("--exchange", type=Path, required=True, help="folder shared with the workers")
    parser.add_argument("--workers", type=int, required=True, help="how many workers there are")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long to train (default: 60)")
    parser.add_argument("--seed", type=int, default=1, help="of the search directions (default: 1)")
    parser.add_argument("--timeout", type=float, default=60.0, help="seconds to wait for workers (default: 60)")
    options = parser.parse_args(arguments)
    exchange = Exchange(options.exchange)
    search = RandomSearch(NUM_PARAMETERS, NUM_TASKS, seed=options.seed)
    episodes = steps = generation = 0
    end = time.monotonic() + options.seconds
    next_look = time.monotonic() + LOOK_INTERVAL
    with CurriculumClient() as curriculum:
        try:
            while time.monotonic() < end:
                generation += 1
                exchange.publish(generation, search.ask())
                tasks, returns, new_steps = exchange.collect(generation, options.workers, options.timeout)
                search.tell(tasks, returns)
                episodes, steps = episodes + len(returns), steps + new_steps
                if time.monotonic() >= next_look:
                    next_look += LOOK_INTERVAL
                    most = int(curriculum.distribution().argmax())
                    print(
                        f"{steps:,} steps: mean return of this generation {returns.mean():.0f}; most probable task "
                        f"{curriculum.task_space.decode(most)}",
                        flush=True,
                    )
        finally:
            exchange.finish()
    print(
        f"learner: {generation} generations, {episodes} episodes, {steps} steps, "
        f"mean return over all tasks {evaluate(search.parameters).mean():.1f}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
