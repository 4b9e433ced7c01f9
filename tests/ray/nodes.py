"""A Ray cluster of several nodes on this machine: started, killed, frozen and started again by a test."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any, Self

import psutil
import pytest

ROOT = Path(__file__).resolve().parents[2]

ENVIRONMENT = {
    "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]),
    "RAY_AUTH_MODE": "disabled",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_gcs_server_port_wait_time_s": "60",
    # Ray lets actors run at niceness 15, so that they leave a node's raylet alone. Here they share the kernel's turns
    # with all that the tests run, and beside one process for each core that never waits they would get a thirtieth.
    "RAY_worker_niceness": "0",
}
"""What every Ray cluster of the tests is started with."""

# A node that is silent is given up within about ten seconds, so that tests need not wait for Ray's half minute.
_IMPATIENCE = {
    "RAY_gcs_rpc_server_reconnect_timeout_s": "10",
    "RAY_health_check_initial_delay_ms": "2000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "3000",
    "RAY_health_check_failure_threshold": "3",
}
_TRIES = 3
_TELLING = re.compile(r"gcs_(actor|health|node)\w*\.cc")
_TOLD_LINES = 60


class RayNodes:
    """A head without CPUs, so that no actor is placed there, and nodes, each with processes of its own.

    Args:
        nodes: how many nodes beside the head.
    """

    def __init__(self, nodes: int) -> None:
        self._patch = pytest.MonkeyPatch()
        # Directly in /tmp, because Ray's sockets have long names and their paths are bounded.
        self._directory = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))
        (self._directory / "ray").mkdir()  # where it notes which cluster is the newest
        self._heads = 0
        for name, value in {**ENVIRONMENT, **_IMPATIENCE, "RAY_TMPDIR": str(self._directory)}.items():
            self._patch.setenv(name, value)
        self._cluster: Any = None
        self.nodes: list[Any] = []
        try:
            self.start_head()
            for _ in range(nodes):
                self.add_node()
        except BaseException:
            self.close()
            raise

    @property
    def address(self) -> str:
        """Where the head listens."""
        return str(self._cluster.address)

    def start_head(self, port: int = 0) -> None:
        """Start the head. It was seen not to come up, for no reason that concerns us: so it has three tries."""
        from ray.cluster_utils import Cluster

        for attempt in range(_TRIES):
            before = _children()
            self._heads += 1
            arguments = {
                "num_cpus": 0,
                "include_dashboard": False,
                "object_store_memory": 200 << 20,
                "temp_dir": str(self._directory / str(self._heads)),
                **({"gcs_server_port": port} if port else {}),
            }
            try:
                self._cluster = Cluster(initialize_head=True, head_node_args=arguments, shutdown_at_exit=False)
            except Exception:
                _kill_newcomers(before)
                if attempt == _TRIES - 1:
                    raise
            else:
                return

    def add_node(self) -> Any:
        """Start another node; on a machine that is busy Ray gives it up after half a minute, so it has three tries."""
        for attempt in range(_TRIES):
            before = _children()
            try:
                node = self._cluster.add_node(num_cpus=1, object_store_memory=200 << 20)
            except Exception:
                _kill_newcomers(before)  # or it would join late, and have actors that nobody here knows of
                self._cluster.worker_nodes.intersection_update(self.nodes)
                if attempt == _TRIES - 1:
                    raise
            else:
                self.nodes.append(node)
                return node

    def kill_head(self) -> None:
        """kill -9 everything of the head, and of the nodes, which end without one."""
        for node in [self._cluster.head_node, *self.nodes]:
            self._kill(node)
        self.nodes.clear()

    def kill_node(self, node: Any) -> None:
        """kill -9 a node: its raylet, and the actors on it."""
        self._kill(node)
        self.nodes.remove(node)
        self._cluster.worker_nodes.discard(node)

    def freeze(self, node: Any) -> list[psutil.Process]:
        """SIGSTOP all of a node: for everybody else, it is cut off. What was stopped."""
        processes = self.processes(node)
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGSTOP)
        return processes

    @staticmethod
    def thaw(processes: list[psutil.Process]) -> None:
        """SIGCONT."""
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGCONT)

    @staticmethod
    def reap(node: Any) -> None:
        """Let go of the processes of a node that have ended, as this process, their parent, has to.

        Until then a raylet has a process id, by which its actors take it for alive, and do not end.
        """
        for infos in node.all_processes.values():
            for info in infos:
                info.process.poll()

    def processes(self, node: Any) -> list[psutil.Process]:
        """The processes of a node: raylet and the rest, actors last."""
        roots = [
            psutil.Process(info.process.pid)
            for infos in node.all_processes.values()
            for info in infos
            if psutil.pid_exists(info.process.pid)
        ]
        return [*roots, *(child for root in roots for child in root.children(recursive=True))]

    def actors(self) -> dict[int, Any]:
        """The node of each actor's process, by process id."""
        found = {}
        for node in [self._cluster.head_node, *self.nodes]:
            for process in self.processes(node):
                with contextlib.suppress(psutil.NoSuchProcess):
                    if " ".join(process.cmdline()).startswith("ray::CurriculumActor"):
                        found[process.pid] = node
        return found

    def tell(self) -> str:
        """What the head knows of nodes and actors, and what it logged of them last: for a test that has failed."""
        state = self._cluster.global_state
        lines = [f"load {os.getloadavg()}"]
        try:
            lines += [f"node {each['NodeID']} {'alive' if each['Alive'] else 'dead'}" for each in state.node_table()]
            for each in state.actor_table(None).values():
                lines.append(f"actor {each['Name']} {each['State']} on {each['Address']['NodeID']}")
        except Exception as error:  # noqa: BLE001 - the test has failed already, and its error counts
            lines.append(f"the head tells nothing: {error!r}")
        for log in (self._directory / str(self._heads)).glob("session_2*/logs/gcs_server.out"):
            told = (line[:300] for line in log.read_text(errors="replace").splitlines() if _TELLING.search(line))
            lines += list(told)[-_TOLD_LINES:]
        return "\n".join(lines)

    def close(self) -> None:
        """End everything, and remove its files."""
        for node in [*([self._cluster.head_node] if self._cluster is not None else []), *self.nodes]:
            self._kill(node)
        shutil.rmtree(self._directory, ignore_errors=True)
        self._patch.undo()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _kill(self, node: Any) -> None:
        processes = self.processes(node)
        _kill_all(processes)
        node.kill_all_processes(check_alive=False, allow_graceful=False)
        psutil.wait_procs(processes, timeout=10)


def _children() -> set[psutil.Process]:
    return set(psutil.Process().children())


def _kill_newcomers(before: set[psutil.Process]) -> None:
    """kill -9 what a node that did not come up has left: the children that were not there before, and theirs."""
    found = []
    for process in _children() - before:
        with contextlib.suppress(psutil.NoSuchProcess):
            found += [process, *process.children(recursive=True)]
    _kill_all(found)
    psutil.wait_procs(found, timeout=10)


def _kill_all(processes: list[psutil.Process]) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
