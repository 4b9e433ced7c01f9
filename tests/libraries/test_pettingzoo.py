"""One curriculum for all agents of a PettingZoo environment: its episodes and returns are the service's."""

from __future__ import annotations

import pytest

from examples import pettingzoo_shared
from tests.libraries.ledger import check_ledger, kept_curricula


def test_the_tasks_change_and_every_episode_is_counted_once_with_the_returns_of_all_agents(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with kept_curricula(pettingzoo_shared, monkeypatch) as kept:
        sums = pettingzoo_shared.main(pettingzoo_shared.parse(["--episodes", "12"]))
        check_ledger(kept[0], sums)
