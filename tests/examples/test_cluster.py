"""The cluster example: the very commands of its README, with a short duration and a port of their own."""

import re
import shlex
import socket

import numpy as np
import pytest

from examples.cluster.exchange import Exchange
from syllabus_client import CurriculumClient
from tests.examples.programs import ROOT, Program


def _commands() -> list[str]:
    blocks = re.findall(r"```sh\n(.*?)```", (ROOT / "examples/cluster/README.md").read_text(), re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line and not line.startswith("#")]


def _arguments(command: str, **replacements: str) -> list[str]:
    """Arguments of python for a command of the README."""
    for old, new in replacements.items():
        command = command.replace({"address": "127.0.0.1:50051", "exchange": "demo-output/exchange"}[old], new)
    program, *arguments = shlex.split(command)
    if program == ".venv/bin/syllabus-service":
        return ["-c", "from syllabus_service.cli import main; main()", *arguments]
    assert program == ".venv/bin/python"
    return arguments


def _free_address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def test_the_readmes_commands_train_and_every_episode_is_counted_once(tmp_path):
    serve, export, *workers, learner = _commands()
    assert len(workers) == 2
    assert "--seconds 30" in learner
    address = _free_address()
    environment = dict(part.split("=") for part in shlex.split(export)[1:])
    assert environment["SYLLABUS_TARGET"] == "127.0.0.1:50051"
    environment["SYLLABUS_TARGET"] = address
    exchange = str(tmp_path / "exchange")
    with Program(tmp_path / "service", *_arguments(serve, address=address)) as service:
        service.wait_for("listening", 60)
        workers = [
            Program(tmp_path / f"worker-{i}", *_arguments(command, exchange=exchange), environment=environment)
            for i, command in enumerate(workers)
        ]
        short = learner.replace("--seconds 30", "--seconds 6")
        with (
            workers[0],
            workers[1],
            Program(tmp_path / "learner", *_arguments(short, exchange=exchange), environment=environment) as learner,
        ):
            for program in (learner, *workers):
                assert program.wait(90) == 0, program.output
                assert program.left_behind() == []
            episodes, steps = map(int, re.search(r"(\d+) episodes, (\d+) steps", learner.output).groups())
            said = [re.search(r"(\d+) episodes, sum of returns (\d+)", each.output).groups() for each in workers]
        with CurriculumClient(address, curriculum=environment["SYLLABUS_CURRICULUM"]) as curriculum:
            total = curriculum.statistics().total
            per_task = curriculum.statistics().tasks
        assert sum(int(count) for count, _ in said) == episodes == total.num_episodes[0] == per_task.num_episodes.sum()
        assert total.return_mean[0] * episodes == pytest.approx(sum(int(returns) for _, returns in said))
        assert total.length_mean[0] * episodes == pytest.approx(steps)
        assert min(int(count) for count, _ in said) > 0
        service.interrupt()
        assert service.wait(30) == 0, service.output
        assert service.left_behind() == []


def test_shares_of_all_workers_come_back_in_the_order_of_the_policies(tmp_path):
    learner, worker_side = Exchange(tmp_path), Exchange(tmp_path)
    learner.publish(1, np.arange(10.0).reshape(5, 2))
    for worker in (1, 0):
        generation = next(worker_side.generations(timeout=5.0))
        share = generation.policies[worker::2, 0]
        worker_side.deliver(generation, worker, [int(value) for value in share], [value * 10 for value in share], 7)
    tasks, returns, steps = learner.collect(1, workers=2, timeout=5.0)
    assert tasks.tolist() == [0, 2, 4, 6, 8]
    assert returns.tolist() == [0.0, 20.0, 40.0, 60.0, 80.0]
    assert steps == 14


def test_the_learner_names_the_workers_that_are_missing(tmp_path):
    exchange = Exchange(tmp_path)
    exchange.publish(1, np.zeros((2, 2)))
    exchange.deliver(next(exchange.generations(timeout=5.0)), 0, [1], [1.0], 1)
    with pytest.raises(TimeoutError, match=r"workers \[1\] delivered nothing for generation 1"):
        exchange.collect(1, workers=2, timeout=0.05)


def test_what_an_earlier_run_left_in_the_folder_does_not_count(tmp_path):
    before, learner, worker = Exchange(tmp_path), Exchange(tmp_path), Exchange(tmp_path)
    before.publish(1, np.zeros((1, 2)))
    worker.deliver(next(worker.generations(timeout=5.0)), 0, [1], [1.0], 1)
    before.finish()
    with pytest.raises(TimeoutError, match="nothing new"):  # an old end does not end a new worker
        next(worker.generations(timeout=0.05))
    learner.publish(1, np.zeros((1, 2)))
    with pytest.raises(TimeoutError, match=r"workers \[0\]"):
        learner.collect(1, workers=1, timeout=0.05)


def test_workers_end_when_the_learner_has_finished_and_complain_when_it_never_comes(tmp_path):
    learner, worker = Exchange(tmp_path), Exchange(tmp_path)
    with pytest.raises(TimeoutError, match="the learner published nothing"):
        next(worker.generations(timeout=0.05))
    learner.publish(1, np.zeros((1, 2)))
    generations = worker.generations(timeout=5.0)
    assert next(generations).number == 1
    learner.finish()
    assert list(generations) == []
