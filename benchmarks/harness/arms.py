"""An arm of a comparison: something that can be run, once a round, in processes of its own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.harness.noise import Noise
from benchmarks.harness.process_tree import adopt_orphans

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Run:
    """What came of one run."""

    values: Mapping[str, float]
    """Figures by name; the name ends in the unit."""
    noise: Noise


@dataclass(frozen=True)
class Arm:
    """One way of doing the work."""

    name: str
    run: Callable[[], Run]
    missing: str = ""
    """Why it cannot be run here; empty where it can."""
    is_baseline: bool = False
    """Whether it is what ours is compared with: where it fails, ours is told without it."""


class ArmFailedError(RuntimeError):
    """A run did not come to its end."""


def process_arm(
    name: str,
    module: str,
    params: Mapping[str, Any],
    *,
    python: Path | None = None,
    prefix: Sequence[str] = (),
    missing: str = "",
    is_baseline: bool = False,
    timeout: float = 180.0,
) -> Arm:
    """An arm that is ``python -m module`` for each run: a program that ends in ``arm_main``.

    Args:
        name: of the arm.
        module: of ``benchmarks.arms``.
        params: keyword arguments of the arm's function; JSON.
        python: the interpreter; None: this one.
        prefix: a command that runs the interpreter, such as one that makes a network namespace.
        missing: why it cannot be run here.
        is_baseline: whether it is what ours is compared with.
        timeout: seconds after which a run has failed.
    """
    command = [*prefix, str(python or sys.executable), "-m", f"benchmarks.arms.{module}"]
    return Arm(name, lambda: _run_process(command, params, timeout), missing, is_baseline)


def _run_process(command: Sequence[str], params: Mapping[str, Any], timeout: float) -> Run:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
        env=environment,
        start_new_session=True,
        text=True,
    )
    try:
        out, err = process.communicate(json.dumps(params), timeout)
    except subprocess.TimeoutExpired as error:
        raise ArmFailedError(f"no result within {timeout:.0f} s") from error
    finally:
        with contextlib.suppress(ProcessLookupError):  # what it left behind, and all of it when it did not end
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    if process.returncode != 0:
        raise ArmFailedError(f"exit code {process.returncode}\n{err[-4000:]}")
    if not out.strip():
        raise ArmFailedError(f"it ended without a result\n{err[-4000:]}")
    result = json.loads(out.splitlines()[-1])
    return Run(result["values"], Noise(**result["noise"]))


def arm_main(run: Callable[..., Run]) -> None:
    """The end of an arm's program: reads the parameters, runs, tells the result in the last line."""
    adopt_orphans()
    result = run(**json.load(sys.stdin))
    print(json.dumps(asdict(result)), flush=True)
    sys.stderr.flush()
    os._exit(0)  # whatever threads and queues a library has left
