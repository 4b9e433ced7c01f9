"""Hosts on a switch: network namespaces with an address, names of their own to look up, and processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.hosts.cables import Cable, Cables, run

ROOT = Path(__file__).parents[2]
_SUBNET = "10.99.0"
_START_SECONDS = 20.0


def address(number: int) -> str:
    """Address of host ``number``, 2 to 254. The test itself has number 1."""
    return f"{_SUBNET}.{number}"


@dataclass
class Host:
    """One host: a network namespace, a file of names, and whatever was started on it."""

    name: str
    address: str
    cable: Cable
    names: Path
    """Its /etc/hosts."""
    keeper: subprocess.Popen[bytes]
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(
        self, *arguments: str, log: Path, environment: dict[str, str] | None = None, takes_input: bool = False
    ) -> subprocess.Popen[bytes]:
        """Start Python with these arguments on the host. The process's id is that of Python."""
        with log.open("ab") as output:
            process = subprocess.Popen(
                [*self._enter(), sys.executable, *arguments],
                cwd=ROOT,
                env={**os.environ, **(environment or {})},
                stdin=subprocess.PIPE if takes_input else subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        self.processes.append(process)
        return process

    def knows(self, name: str, where: str) -> None:
        """From now on, ``name`` is looked up to lead to the address ``where``."""
        lines = [line for line in self.names.read_text().splitlines() if line.split()[1:] != [name]]
        self.names.write_text("\n".join([*lines, f"{where} {name}"]) + "\n")  # in place: the file is mounted

    def power_off(self) -> None:
        """What a power cut does: the cable goes silent first, so that nobody hears of the end of its processes."""
        self.cable.unplugged = True
        namespace = Path(f"/proc/{self.keeper.pid}/ns/net").readlink()
        for entry in Path("/proc").glob("[0-9]*/ns/net"):
            try:
                if entry.readlink() == namespace:
                    os.kill(int(entry.parts[2]), signal.SIGKILL)
            except OSError:  # it has ended
                continue
        for process in (*self.processes, self.keeper):
            process.wait()

    def _enter(self) -> list[str]:
        return ["nsenter", f"--target={self.keeper.pid}", "--net", "--mount", f"--wd={ROOT}"]


class Network:
    """A switch in the test's own network namespace, which must be one that nothing else is in.

    Args:
        directory: where the hosts' files of names go.
        seed: of what cables lose.
    """

    def __init__(self, directory: Path, seed: int) -> None:
        self._directory = directory
        self.cables = Cables(seed)
        self.hosts: dict[str, Host] = {}
        self._names: dict[str, str] = {}
        self._laid = 0
        run("ip", "link", "add", "switch", "type", "bridge")
        run("ip", "address", "add", f"{address(1)}/24", "dev", "switch")
        run("ip", "link", "set", "switch", "up")

    def add(self, name: str, number: int) -> Host:
        """A new host, on. A name or number may be taken again when its host is off."""
        self._laid += 1
        cable = self.cables.lay(f"cable{self._laid}")
        names = self._directory / f"hosts-{self._laid}"
        names.write_text("127.0.0.1 localhost\n" + "".join(f"{where} {each}\n" for each, where in self._names.items()))
        ready = self._directory / f"ready-{self._laid}"
        keeper = subprocess.Popen(
            ["unshare", "--net", "--mount", "sh", "-ec",
             f"mount --bind {names} /etc/hosts; ip link set lo up; touch {ready}; exec sleep infinity"]
        )  # fmt: skip
        deadline = time.monotonic() + _START_SECONDS
        while not ready.exists():
            if keeper.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"host {name} does not start")
            time.sleep(0.01)
        host = Host(name, address(number), cable, names, keeper)
        run("ip", "link", "set", f"{cable.name}-", "master", "switch", "up")
        run("ip", "link", "set", cable.name, "netns", str(keeper.pid), "name", "eth0")
        for command in (
            "sysctl -qw net.ipv4.conf.eth0.arp_notify=1",  # so that nobody sends to who had the address before
            f"ip address add {host.address}/24 dev eth0",
            "ip link set eth0 up",
        ):
            run(*host._enter(), *command.split())
        self.hosts[name] = host
        return host

    def name(self, name: str, where: str) -> None:
        """Every host, and each that comes, looks ``name`` up to lead to ``where``."""
        self._names[name] = where
        for host in self.hosts.values():
            host.knows(name, where)

    def power_off(self, name: str) -> None:
        """Power off a host, for good."""
        host = self.hosts.pop(name)
        host.power_off()
        self.cables.cut(host.cable)

    def close(self) -> None:
        """Power off all of them, and take the switch away."""
        for name in list(self.hosts):
            self.power_off(name)
        self.cables.close()
        run("ip", "link", "delete", "switch")
