"""Synchronisation is exact over every way of finding a service; ``tests/ray`` runs the same over Ray."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.embedded.synchronisation import check_that_synchronisation_is_exact
from tests.embedded.ways import WAYS


@pytest.mark.parametrize("way", WAYS)
def test_every_task_is_run_as_often_as_asked_and_the_service_counts_what_environments_saw(
    way: str, tmp_path: Path
) -> None:
    check_that_synchronisation_is_exact(WAYS[way], tmp_path)
