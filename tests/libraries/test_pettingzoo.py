"""One curriculum for all agents of a PettingZoo environment: its episodes and returns are the service's."""

from __future__ import annotations

import re

import pytest

from examples import pettingzoo_shared


def test_the_tasks_change_and_every_episode_is_counted_once_with_the_returns_of_all_agents(
    capsys: pytest.CaptureFixture[str],
) -> None:
    sums = pettingzoo_shared.main(episodes=12)
    said = capsys.readouterr().out
    assert "episodes: 12 counted: 12" in said
    rows = re.findall(r"(\d) evaders: (\d+) episodes, mean return (\S+)", said)
    assert len(rows) > 1
    assert sum(int(count) for _, count, _ in rows) == 12
    assert sum(int(count) * float(mean) for _, count, mean in rows) == pytest.approx(sum(sums), abs=12 * 0.0005)
