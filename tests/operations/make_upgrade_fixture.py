"""Makes a fixture of the upgrade test: a data directory as some commit's service left it, and what it said of it.

Run once per format, in a checkout of the commit that writes it, and keep what comes out:

    git archive COMMIT | tar x -C DIR
    cd DIR && PYTHONPATH=DIR python MAIN/tests/operations/make_upgrade_fixture.py MAIN/tests/operations/fixtures/COMMIT

The service is stopped once, which leaves snapshots, goes on, and is killed, which leaves journals behind them. Then a
copy is served by the same commit, and its answers are kept: what a later program has to say of the same directory.
"""

from __future__ import annotations

import base64
import json
import shutil
import sys
import tarfile
import tempfile
from pathlib import Path

import numpy as np
from google.protobuf.message import Message

import syllabus_service
from syllabus_client.task_spaces import DiscreteTaskSpace
from syllabus_client.wire import codec
from syllabus_client.wire import curriculum_pb2 as pb
from syllabus_client.wire import curriculum_pb2_grpc as pb_grpc

TIMEOUT = 20.0
NUM_TASKS = 24
WORKER, LEARNER = "worker-1", "learner-1"
ROUNDS_BEFORE_STOP, ROUNDS_BEFORE_KILL = 6, 4
LAST_SEQUENCE = 2 * (ROUNDS_BEFORE_STOP + ROUNDS_BEFORE_KILL)
CURRICULA = {
    "random": "domain_randomization",
    "progress": "online_learning_progress",
    "learnability": "learnability",
    "replay": "prioritized_level_replay",
}


def spec(name: str) -> pb.CurriculumSpec:
    """What a curriculum is made from."""
    message = pb.CurriculumSpec(algorithm=CURRICULA[name], seed=len(name))
    message.task_space.CopyFrom(DiscreteTaskSpace(NUM_TASKS).to_proto())
    message.lease.FromSeconds(600)
    return message


def episodes(reply: pb.BatchReply, seed: int) -> pb.EpisodeBatch:
    """Episodes of the tasks of a reply, with returns that depend on the task and on ``seed`` only."""
    ids = codec.from_tensor(reply.tasks.assignment_id, "assignment_id")
    tasks = codec.from_tensor(reply.tasks.task, "task")
    rng = np.random.default_rng(seed)
    progress = (rng.random(len(ids)) < 0.2 + 0.6 * tasks / NUM_TASKS).astype(np.float64)
    columns = {
        "assignment_id": ids[:-2],  # the last two stay open
        "episode_return": (progress + rng.normal(size=len(ids)))[:-2],
        "length": np.arange(3, 3 + len(ids), dtype=np.int64)[:-2],
        "progress": progress[:-2],
        "env_id": np.arange(len(ids), dtype=np.int64)[:-2],
    }
    return pb.EpisodeBatch(**{name: codec.to_tensor(column) for name, column in columns.items()})


def play(stub: pb_grpc.CurriculumServiceStub, name: str, rounds: range) -> pb.ReportEpisodeRequest:
    """Rounds of drawing eight tasks and reporting six of them, and what a learner says between; the last report."""
    report = pb.ReportEpisodeRequest()
    for number in rounds:
        sequence = 2 * number + 1
        draw = pb.GetTaskRequest(curriculum=name, session_id=WORKER, sequence=sequence, num_tasks=8)
        reply = stub.GetTask(draw, timeout=TIMEOUT).reply
        report = pb.ReportEpisodeRequest(
            curriculum=name, session_id=WORKER, sequence=sequence + 1, episodes=episodes(reply, number)
        )
        stub.ReportEpisode(report, timeout=TIMEOUT)
        if name == "replay":
            update = pb.CustomUpdateRequest(curriculum=name, session_id=LEARNER, sequence=number + 1)
            update.arrays["tasks"].CopyFrom(codec.to_tensor(np.arange(6, dtype=np.int64) + number))
            update.arrays["scores"].CopyFrom(codec.to_tensor(np.random.default_rng(number).random(6)))
            stub.CustomUpdate(update, timeout=TIMEOUT)
    return report


def answers(stub: pb_grpc.CurriculumServiceStub, name: str, last_report: pb.ReportEpisodeRequest) -> dict[str, Message]:
    """What a service says of a curriculum: how it stands, the last batch sent again, and the tasks that come next."""
    next_draw = pb.GetTaskRequest(curriculum=name, session_id=WORKER, sequence=LAST_SEQUENCE + 1, num_tasks=16)
    return {
        "curriculum": stub.GetCurriculum(pb.GetCurriculumRequest(curriculum=name), timeout=TIMEOUT),
        "statistics": stub.GetStatistics(pb.GetStatisticsRequest(curriculum=name), timeout=TIMEOUT),
        "distribution": stub.GetDistribution(pb.GetDistributionRequest(curriculum=name), timeout=TIMEOUT),
        "resent": stub.ReportEpisode(last_report, timeout=TIMEOUT),
        "next": stub.GetTask(next_draw, timeout=TIMEOUT),
    }


def main(output: Path) -> None:
    """Make ``output``.tar.gz, the data directory, and ``output``.json, the answers."""
    from tests.service_process import ServiceProcess  # of the commit, like all that it starts

    with tempfile.TemporaryDirectory() as temporary:
        scratch = Path(temporary)
        data = scratch / "data"
        service = ServiceProcess(scratch, data_dir=data, listen=f"unix:{scratch}/s")
        service.start()
        with service.stub() as stub:
            for name in CURRICULA:
                stub.CreateCurriculum(pb.CreateCurriculumRequest(name=name, spec=spec(name)), timeout=TIMEOUT)
                play(stub, name, range(ROUNDS_BEFORE_STOP))
        service.terminate()
        service.start()
        with service.stub() as stub:
            rounds = range(ROUNDS_BEFORE_STOP, ROUNDS_BEFORE_STOP + ROUNDS_BEFORE_KILL)
            last_reports = {name: play(stub, name, rounds) for name in CURRICULA}
        service.kill()
        with tarfile.open(f"{output}.tar.gz", "w:gz") as archive:
            for path in sorted(data.glob("*.sqlite3*")):
                archive.add(path, path.name)
        copy = ServiceProcess(scratch, data_dir=scratch / "copy", listen=f"unix:{scratch}/s")
        shutil.copytree(data, scratch / "copy")
        copy.start()
        with copy.stub() as stub:
            told = {
                name: {
                    "last_report": packed(last_reports[name]),
                    **{what: packed(message) for what, message in answers(stub, name, last_reports[name]).items()},
                }
                for name in CURRICULA
            }
        copy.terminate()
    Path(f"{output}.json").write_text(json.dumps(told, indent=1) + "\n")
    sys.stdout.write(f"by the code in {Path(syllabus_service.__path__[0]).parent}\n")


def packed(message: Message) -> str:
    """A message as text."""
    return base64.b64encode(message.SerializeToString(deterministic=True)).decode()


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute())
