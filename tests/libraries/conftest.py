"""Tests that train with real libraries: where those are not installed, nothing here is collected."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest

_HERE = Path(__file__).parent
os.environ["HF_HUB_OFFLINE"] = "1"  # read when TRL is imported: it would send a note of its use

# Whether torch is there says whether the extra is: the tests import their libraries at the top, as programs do.
collect_ignore_glob = [] if importlib.util.find_spec("torch") else ["test_*.py"]

if importlib.util.find_spec("wandb"):  # TRL imports it; its temporary directories are not what a test leaves behind
    import wandb  # noqa: F401


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this directory carries the marker."""
    for item in items:
        if _HERE in item.path.parents:
            item.add_marker(pytest.mark.libraries)
