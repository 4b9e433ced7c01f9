"""How a batch, and a GetTask, spend their time in the service, stage by stage and thread by thread.

    python -m benchmarks.stages [--quick] [--json FILE]

Four sessions with two batches each in flight, of 2,048 and of 8 episodes with their draws, and 16 callers of GetTask,
one task a call; journalled to disk. Figures are microseconds a batch or call, differences between the ends of the
measured time. First what the service's own metrics count, which are times of the clock:

- `parse`: bytes to a message, in the event loop;
- `decode`: a message of a stream to checked columns, in the event loop; no stage of GetTask;
- `apply`: from the beginning of a micro-batch until the state has it, by its number of commands;
- `journal`: from then until it is durable; mostly waiting for the disk;
- `answer`: from then until the event loop has the answers; waiting for the loop;
- `encode`: an answer to bytes, in the event loop.

What a stage waits for, such as the interpreter lock, is in it, and the stages of one micro-batch overlap those of
others: they do not add up to the time of an answer. Then CPU time, as the operating system counts it: of the event
loop's thread (parse, decode, encode, and gRPC's and asyncio's Python), of the curriculum's thread (apply and journal),
and of all others, which are gRPC's own and the writer of snapshots.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from benchmarks.harness import Arm, Run, Window
from benchmarks.harness.load import Load, LoadSettings
from benchmarks.harness.process_tree import thread_cpu_seconds
from benchmarks.harness.program import Options, run_program
from benchmarks.harness.results import Result, comparison_table
from benchmarks.harness.service import CURRICULUM, ServiceProcess, scratch
from benchmarks.harness.unary_load import GetTaskCaller, UnaryLoad

ROWS = (2048, 8)
COLUMNS = {
    "parse_us": "parse",
    "decode_us": "decode",
    "apply_us": "apply",
    "journal_us": "journal",
    "answer_us": "answer",
    "encode_us": "encode",
    "loop_cpu_us": "CPU: loop",
    "curriculum_cpu_us": "curriculum",
    "other_cpu_us": "others",
    "commands_per_s": "batches or calls/s",
    "commands_together": "of them in a micro-batch",
}
WARM_UP_SECONDS = 1.0
_SUMS = {
    "parse_us": "syllabus_rpc_codec_seconds_total/parse",
    "decode_us": "syllabus_decode_seconds_total",
    "encode_us": "syllabus_rpc_codec_seconds_total/serialize",
    "apply_us": "syllabus_batch_stage_seconds_sum/apply",
    "journal_us": "syllabus_batch_stage_seconds_sum/journal",
    "answer_us": "syllabus_batch_stage_seconds_sum/answer",
}
_COMMANDS, _MICRO_BATCHES = "syllabus_batch_commands_sum", "syllabus_batch_commands_count"
_CONCURRENCY = 16


def run(options: Options) -> Result:
    """Run both sizes, and GetTask."""
    seconds = options.seconds(3.0)
    arms = [
        *(Arm(f"{rows:,} episodes a batch", lambda rows=rows: _run(_stream(rows), seconds)) for rows in ROWS),
        Arm("GetTask", lambda: _run(_get_task, seconds)),
    ]
    header, rows, notes = comparison_table(comparison := options.compare(arms), COLUMNS)
    question = "microseconds that a batch, or a call, spends in each stage and thread of the service"
    return Result("stages", question, header, rows, [], notes, comparison.to_json())


def _run(load: Callable[[ServiceProcess], AbstractContextManager[None]], seconds: float) -> Run:
    with scratch() as directory, ServiceProcess(directory, metrics=True) as service:
        service.create(1_000)
        with load(service), Window() as window:
            before, cpu_before = service.metrics(), thread_cpu_seconds(service.pid)
            time.sleep(seconds)
            after, cpu_after = service.metrics(), thread_cpu_seconds(service.pid)
    commands = after[_COMMANDS] - before[_COMMANDS]
    values = {name: (after[key] - before[key]) / commands * 1e6 for name, key in _SUMS.items()}
    cpu = dict.fromkeys(("loop_cpu_us", "curriculum_cpu_us", "other_cpu_us"), 0.0)
    for name, total in cpu_after.items():
        kind = "loop" if name == "main" else "curriculum" if name.startswith("curriculum-") else "other"
        cpu[f"{kind}_cpu_us"] += (total - cpu_before.get(name, 0.0)) / commands * 1e6
    values |= cpu
    values["commands_per_s"] = commands / window.noise.seconds
    values["commands_together"] = commands / (after[_MICRO_BATCHES] - before[_MICRO_BATCHES])
    return Run(values, window.noise)


def _stream(rows: int) -> Callable[[ServiceProcess], AbstractContextManager[None]]:
    @contextmanager
    def load(service: ServiceProcess) -> Iterator[None]:
        streams = Load(LoadSettings([service.target], [CURRICULUM], sessions=4, rows=rows, in_flight=2))
        streams.start()
        time.sleep(WARM_UP_SECONDS)
        yield
        told = streams.stop()
        if told.errors:
            raise RuntimeError(told.errors[0])
        service.check_episodes(told.sent)

    return load


@contextmanager
def _get_task(service: ServiceProcess) -> Iterator[None]:
    calls = UnaryLoad(service.target, GetTaskCaller(CURRICULUM, "load"), _CONCURRENCY)
    calls.start()
    time.sleep(WARM_UP_SECONDS)
    yield
    answered = len(calls.stop())
    with service.client() as client:
        if (handed_out := client.summary().num_assignments) != answered:
            raise RuntimeError(f"{answered} calls were answered, and {handed_out} tasks handed out")


if __name__ == "__main__":
    run_program(__doc__, run)
