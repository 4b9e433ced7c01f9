"""PostgreSQL on a host: ``python -m tests.hosts.database ADDRESS PLACE READY``, until SIGTERM.

PLACE tells where its data is, for the host that takes it over; READY is there once it takes connections.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from tests.postgresql import PostgresServer


def main(address: str, place: str, ready: str) -> None:
    """Serve."""
    told = Path(place)
    server = PostgresServer(listen=address, directory=Path(told.read_text()) if told.exists() else None)
    told.write_text(str(server.directory))
    Path(ready).touch()
    signal.sigwait({signal.SIGTERM})
    server.close()


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    main(*sys.argv[1:])
