"""How a batch spends its time in the service, stage by stage, as the service itself counts it.

    python -m benchmarks.stages [--quick] [--json FILE]

Four sessions with two batches each in flight, of 2,048 and of 8 episodes with their draws, journalled to disk. Figures
are microseconds a batch, differences of the service's own metrics between the ends of the measured time:

- `parse` and `serialize`: bytes to messages and back, in the event loop;
- `apply`: from the beginning of a micro-batch until the state has it, by its number of batches;
- `journal`: from then until it is durable; mostly waiting for the disk;
- `answer`: from then until the event loop has the answers; waiting for the loop;
- `CPU in all`: of the whole process: beside these, gRPC, the event loop, and checks of columns.

They are times of the clock, not of the CPU: what a stage waits for is in it. The stages of one micro-batch overlap
those of others, so they do not add up to the time of an answer.
"""

from __future__ import annotations

import time

from benchmarks.harness import Arm, Run, Window, compare, process_cpu_seconds
from benchmarks.harness.load import Load, LoadSettings
from benchmarks.harness.program import Options, run_program
from benchmarks.harness.results import Result, comparison_table
from benchmarks.harness.service import CURRICULUM, ServiceProcess, scratch

ROWS = (2048, 8)
COLUMNS = {
    "parse_us": "parse",
    "apply_us": "apply",
    "journal_us": "journal",
    "answer_us": "answer",
    "serialize_us": "serialize",
    "cpu_us": "CPU in all",
    "batches_per_s": "batches/s",
    "batches_together": "batches a micro-batch",
}
WARM_UP_SECONDS = 1.0
_SUMS = {
    "parse_us": "syllabus_rpc_codec_seconds_total/parse",
    "serialize_us": "syllabus_rpc_codec_seconds_total/serialize",
    "apply_us": "syllabus_batch_stage_seconds_sum/apply",
    "journal_us": "syllabus_batch_stage_seconds_sum/journal",
    "answer_us": "syllabus_batch_stage_seconds_sum/answer",
}
_BATCHES, _MICRO_BATCHES = "syllabus_batch_commands_sum", "syllabus_batch_commands_count"


def run(options: Options) -> Result:
    """Run both sizes."""
    seconds = options.seconds(3.0)
    arms = [Arm(f"{rows:,} episodes a batch", lambda rows=rows: _run(rows, seconds)) for rows in ROWS]
    header, rows, notes = comparison_table(comparison := compare(arms, options.rule), COLUMNS)
    question = "microseconds that a batch spends in each stage of the service"
    return Result("stages", question, header, rows, [], notes, comparison.to_json())


def _run(rows: int, seconds: float) -> Run:
    with scratch() as directory, ServiceProcess(directory, metrics=True) as service:
        service.create(1_000)
        load = Load(LoadSettings(service.target, CURRICULUM, sessions=4, rows=rows, in_flight=2))
        load.start()
        time.sleep(min(WARM_UP_SECONDS, 3 * seconds))
        with Window() as window:
            before, cpu = service.metrics(), process_cpu_seconds(service.pid)
            time.sleep(seconds)
            after, cpu = service.metrics(), process_cpu_seconds(service.pid) - cpu
        told = load.stop()
        if told.errors:
            raise RuntimeError(told.errors[0])
    batches = after[_BATCHES] - before[_BATCHES]
    values = {name: (after[key] - before[key]) / batches * 1e6 for name, key in _SUMS.items()}
    values["cpu_us"] = cpu / batches * 1e6
    values["batches_per_s"] = batches / window.noise.seconds
    values["batches_together"] = batches / (after[_MICRO_BATCHES] - before[_MICRO_BATCHES])
    return Run(values, window.noise)


if __name__ == "__main__":
    run_program(__doc__, run)
