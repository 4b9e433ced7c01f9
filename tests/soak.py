"""``make soak``: the chaos tests for long; SYLLABUS_CHAOS_SECONDS, 600 unless told, is how long each of them runs."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

if __name__ == "__main__":
    os.environ.setdefault("SYLLABUS_CHAOS_SECONDS", "600")
    os.environ.setdefault("SYLLABUS_CHAOS_SEED", str(int.from_bytes(os.urandom(4), "big")))
    sys.exit(pytest.main([str(Path(__file__).parent / "chaos" / "test_chaos.py"), "-x", *sys.argv[1:]]))
