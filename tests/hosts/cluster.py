"""A training cluster on hosts: a database, the service, a learner, workers and environments, over TLS with tokens."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
from click.testing import CliRunner

from syllabus_client.target import Target
from syllabus_client.wire import curriculum_pb2_grpc as pb_grpc
from syllabus_service.token_commands import token_commands
from tests.hosts.network import Host, Network, address
from tests.security.certificates import Authority

NAME = "syllabus.test"
TARGET = f"{NAME}:50051"
_DATABASE, _FIRST_SERVICE, _FIRST_HOST = 2, 10, 20
_START_SECONDS = 60.0
_END_SECONDS = 120.0


@dataclass
class Program:
    """A worker or an environment: its process, and what it leaves behind."""

    process: subprocess.Popen[bytes]
    curriculum: str
    ledger: Path
    diary: Path
    log: Path


class Cluster:
    """Everybody, and where they are.

    Args:
        directory: where files go; all hosts see it, as a shared file system.
        curricula: curricula.yaml.
        seed: of what cables lose.
    """

    def __init__(self, directory: Path, curricula: str, seed: int) -> None:
        self.directory = directory
        self.network = Network(directory, seed)
        self._config = directory / "curricula.yaml"
        self._config.write_text(curricula)
        self._authority = Authority(directory, "authority")
        self._tokens = {scope: self._token(scope) for scope in ("worker", "learner")}
        self._numbers = {"service": _FIRST_SERVICE, "host": _FIRST_HOST}
        self._services = 0
        self.programs: list[Program] = []
        self._learner: subprocess.Popen[bytes] | None = None

    # The database and the service

    @property
    def store(self) -> str:
        """URL of the database."""
        return f"postgresql://syllabus@{address(_DATABASE)}:5432/postgres?connect_timeout=3"

    def start_database(self) -> None:
        """A host with PostgreSQL, which takes connections; where there was one, with its data."""
        host = self.network.add("database", _DATABASE)
        log, place, ready = (self.directory / f"database{suffix}" for suffix in (".log", "", ".ready"))
        ready.unlink(missing_ok=True)
        process = host.start("-m", "tests.hosts.database", host.address, str(place), str(ready), log=log)
        deadline = time.monotonic() + _START_SECONDS
        while not ready.exists():
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the database does not start: {log.read_text()}")
            time.sleep(0.05)

    def start_service(self) -> str:
        """The service on a host that was not there before, and the name leading to it. Name of the host."""
        self._services += 1
        name, where = f"service-{self._services}", address(self._next("service"))
        host = self.network.add(name, int(where.rpartition(".")[2]))
        pair = self._authority.sign(name, hosts=[NAME], addresses=[])
        log = self.directory / f"{name}.log"
        process = host.start(
            "-c", "from syllabus_service.cli import main; main()", "serve", "--listen", f"{where}:50051",
            "--tls-cert", str(pair.certificate), "--tls-key", str(pair.key),
            "--tokens", str(self.directory / "tokens.yaml"), "--store", self.store, "--config", str(self._config),
            "--log-format", "json",
            log=log,
        )  # fmt: skip
        self.network.name(NAME, where)
        deadline = time.monotonic() + _START_SECONDS
        while '"event": "listening"' not in log.read_text():
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the service does not start: {log.read_text()}")
            time.sleep(0.05)
        return name

    # Those who use it

    def add_host(self, name: str) -> Host:
        """A host for workers, environments or the learner."""
        return self.network.add(name, self._next("host"))

    def start_worker(self, host: Host, curriculum: str) -> Program:
        """A worker of the chaos tests."""
        return self._start(host, "tests.chaos.worker", curriculum)

    def start_environment(self, host: Host, curriculum: str, policy: str) -> Program:
        """An environment that goes on, with the service away, as this policy says."""
        return self._start(host, "tests.hosts.environment", curriculum, policy)

    def start_learner(self, host: Host, curriculum: str, num_tasks: int) -> None:
        """The learner of the chaos tests, for a manual curriculum."""
        arguments = [TARGET, curriculum, str(num_tasks), str(self.directory / "learner")]
        log = self.directory / "learner.log"
        environment = self._environment("learner")
        self._learner = host.start("-m", "tests.hosts.learner", *arguments, log=log, environment=environment)

    def stop_learner(self) -> dict[str, int]:
        """End the learner. What it asked for."""
        assert self._learner is not None
        self._learner.send_signal(signal.SIGTERM)
        if self._learner.wait(_END_SECONDS):
            raise RuntimeError((self.directory / "learner.log").read_text())
        result: dict[str, int] = json.loads((self.directory / "learner").read_text())
        return result

    def stop_programs(self) -> None:
        """Tell all who live to deliver what they have and to end. Raises RuntimeError where one fails."""
        living = [each for each in self.programs if each.process.returncode != -signal.SIGKILL]
        for each in living:
            each.process.send_signal(signal.SIGTERM)
        failures = [each.log.read_text() for each in living if each.process.wait(_END_SECONDS)]
        if failures:
            raise RuntimeError("\n".join(failures))

    def failures(self) -> list[str]:
        """What those said that ended without having been told to."""
        return [each.log.read_text() for each in self.programs if each.process.poll() not in (None, -signal.SIGKILL)]

    @contextmanager
    def stub(self) -> Iterator[pb_grpc.CurriculumServiceStub]:
        """The test's own client; it looks no name up."""
        where = next(each.address for name, each in self.network.hosts.items() if name.startswith("service"))
        credentials = grpc.ssl_channel_credentials(self._authority.certificate.read_bytes())
        options = [("grpc.ssl_target_name_override", NAME)]
        with grpc.secure_channel(f"{where}:50051", credentials, options) as channel:
            yield pb_grpc.CurriculumServiceStub(channel)

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What goes with each call of the test's own client."""
        return Target("", "", token=self._tokens["learner"]).metadata

    def close(self) -> None:
        """Power off everything."""
        self.network.close()
        place = self.directory / "database"
        if place.exists():
            subprocess.run(["rm", "-rf", place.read_text()], check=True)

    def _start(self, host: Host, module: str, curriculum: str, policy: str | None = None) -> Program:
        number = len(self.programs) + 1
        ledger, diary, log = (self.directory / f"{kind}-{number}" for kind in ("ledger", "diary", "log"))
        arguments = [TARGET, curriculum, str(ledger), str(number)]
        if policy is not None:
            arguments += [policy, str(diary)]
        process = host.start("-m", module, *arguments, log=log, environment=self._environment("worker"))
        self.programs.append(Program(process, curriculum, ledger, diary, log))
        return self.programs[-1]

    def _environment(self, scope: str) -> dict[str, str]:
        return {"SYLLABUS_TLS_CA": str(self._authority.certificate), "SYLLABUS_TOKEN": self._tokens[scope]}

    def _next(self, kind: str) -> int:
        self._numbers[kind] += 1
        return self._numbers[kind] - 1

    def _token(self, scope: str) -> str:
        arguments = ["new", "--id", scope, "--scope", scope, "--file", str(self.directory / "tokens.yaml")]
        return CliRunner().invoke(token_commands, arguments, catch_exceptions=False).stdout.split()[-1]
