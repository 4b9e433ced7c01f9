"""The chaos tests' learner as a program: ``python -m tests.hosts.learner TARGET CURRICULUM TASKS RESULT``.

It ends on SIGTERM. RESULT then holds how often each task was asked for, in calls that were acknowledged, and how many
calls these were.
"""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path

from tests.chaos.learner import Learner


def main(target: str, curriculum: str, num_tasks: str, result: str) -> None:
    """Keep the queue filled."""
    learner = Learner(target, curriculum, int(num_tasks))
    learner.start()
    signal.sigwait({signal.SIGTERM})
    learner.stop()
    Path(result).write_text(json.dumps({"rounds": learner.rounds, "calls": learner.calls}))


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    main(*sys.argv[1:])
