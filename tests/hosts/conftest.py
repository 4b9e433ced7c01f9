"""What the tests on hosts share; they run only where ``make test-hosts`` has put them: in namespaces of their own."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest


@pytest.fixture
def network_directory(tmp_path: Path) -> Path:
    """Where a network's files go. Skips where no network can be made, or where there is another one already."""
    if os.geteuid() != 0 or not Path("/dev/net/tun").exists():
        pytest.skip("hosts take root and /dev/net/tun")
    if [name for _, name in socket.if_nameindex()] != ["lo"]:
        pytest.skip("hosts are made only beside a loopback interface: run make test-hosts")
    directory = tmp_path / "network"
    directory.mkdir()
    return directory
