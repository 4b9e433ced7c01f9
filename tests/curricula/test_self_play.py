"""Self-play: which opponents are handed out, how games are counted, and what is kept of agents."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from syllabus_client.task_spaces import DiscreteTaskSpace
from syllabus_service.curricula import EpisodeBatch, create
from syllabus_service.state_codec import decode_state, encode_state

from .streams import bits

ALL = ["self_play", "fictitious_self_play", "prioritized_fictitious_self_play"]
POOLS = ALL[1:]
quick = settings(max_examples=50, deadline=None, derandomize=True)


def new(name, num_tasks=8, agents=0, **params):
    curriculum = create(name, DiscreteTaskSpace(num_tasks), params, seed=5)
    for i in range(agents):
        curriculum.add_agent(bytes([i]))
    return curriculum


def play(curriculum, opponent, rewards):
    curriculum.custom_update(opponents=[opponent] * len(rewards), rewards=rewards)


# Known failures, line 20: what breaks in Syllabus 0.7


def test_known_failure_20_self_play_can_be_reported():
    curriculum = new("self_play", 1, agents=1)
    play(curriculum, 0, [1, -1, 1, 1])
    assert curriculum.win_rates().tolist() == [0.75]
    assert curriculum.distribution().tolist() == [1.0]


@pytest.mark.parametrize("name", ALL)
@given(agents=st.integers(0, 8), warm_up=st.booleans())
@quick
def test_known_failure_20_an_id_is_handed_out_only_if_it_was_added(name, agents, warm_up):
    curriculum = new(name, agents=agents, random_start_tasks=100 * warm_up)
    drawn = curriculum.sample(40)
    assert len(drawn) == (40 if agents else 0)
    assert set(drawn.tolist()) <= set(range(agents))
    distribution = curriculum.distribution()
    assert (distribution[agents:] == 0).all()
    assert distribution.sum() == pytest.approx(1.0 if agents else 0.0)


def test_known_failure_20_no_opponent_is_a_padding():
    # As in Syllabus with 2 of 8 agents, where opponent 0 had .39 for .08.
    curriculum = new(
        "prioritized_fictitious_self_play", agents=2, max_agents=8, entropy_parameter=1.0, smoothing_constant=0.1
    )
    play(curriculum, 0, [1] * 9 + [-1])
    play(curriculum, 1, [-1] * 10)
    expected = np.array([0.1 + 0.1, 1.0 + 0.1]) / 1.3
    assert curriculum.distribution().tolist() == pytest.approx([*expected, 0, 0, 0, 0, 0, 0])
    drawn = curriculum.draw(2000)
    assert np.mean(drawn.tasks == 0) == pytest.approx(expected[0], abs=0.05)
    assert drawn.probabilities.tolist() == pytest.approx(expected[drawn.tasks].tolist())


# Agents


@pytest.mark.parametrize("name", ALL)
def test_an_agent_comes_back_byte_for_byte_after_a_restart_too(name):
    curriculum = new(name)
    agent = bytes(range(256)) * 3
    assert curriculum.add_agent(agent) == 0
    other = new(name)
    other.load_state_dict(decode_state(encode_state(curriculum.state_dict())))
    assert curriculum.get_agent(0) == other.get_agent(0) == agent


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("agent_id", [-1, 1, 8, 2**40])
def test_an_id_that_was_never_added_is_refused(name, agent_id):
    curriculum = new(name, agents=1)
    with pytest.raises(ValueError, match=str(agent_id)):
        curriculum.get_agent(agent_id)
    with pytest.raises(ValueError, match="opponents: "):
        play(curriculum, agent_id, [1])
    assert np.isnan(curriculum.win_rates()).all()


@pytest.mark.parametrize("name", ALL)
def test_an_agent_that_is_too_large_or_no_bytes_is_refused_and_changes_nothing(name):
    curriculum = new(name, agents=1, max_agent_bytes=10)
    before = bits(curriculum.state_dict())
    with pytest.raises(ValueError, match="at most 10 bytes, got 11"):
        curriculum.add_agent(bytes(11))
    with pytest.raises(TypeError, match="expected bytes"):
        curriculum.add_agent("parameters")
    assert bits(curriculum.state_dict()) == before
    assert curriculum.add_agent(bytes(10)) == 1


@pytest.mark.parametrize("name", POOLS)
def test_only_the_newest_agents_are_kept(name):
    curriculum = new(name, agents=5, max_agents=3)
    assert set(curriculum.sample(60).tolist()) == {2, 3, 4}
    assert [curriculum.get_agent(i) for i in (2, 3, 4)] == [b"\2", b"\3", b"\4"]
    with pytest.raises(ValueError, match="kept no more"):
        curriculum.get_agent(1)
    play(curriculum, 1, [1, 1])  # a game that ended late
    assert np.isnan(curriculum.win_rates()).all()


@pytest.mark.parametrize("name", POOLS)
@given(added=st.integers(1, 40), num_tasks=st.integers(1, 9), data=st.data())
@quick
def test_ids_go_round_and_each_names_the_last_agent_that_got_it(name, added, num_tasks, data):
    max_agents = data.draw(st.integers(1, num_tasks))
    curriculum = new(name, num_tasks, max_agents=max_agents)
    held: dict[int, bytes] = {}
    for i in range(added):
        agent_id = curriculum.add_agent(bytes([i]))
        assert agent_id == i % num_tasks
        held.pop(agent_id, None)
        held[agent_id] = bytes([i])
        if len(held) > max_agents:
            del held[next(iter(held))]
        assert np.isnan(curriculum.win_rates()[agent_id])
        play(curriculum, agent_id, [1])
    assert {i: curriculum.get_agent(i) for i in held} == held
    assert set(np.flatnonzero(curriculum.distribution()).tolist()) == set(held)
    assert set(np.flatnonzero(~np.isnan(curriculum.win_rates())).tolist()) == set(held)


# Games


@given(
    rewards=st.lists(st.sampled_from([1.0, 0.0, -1.0, 0.5]), min_size=1, max_size=60),
    window=st.integers(1, 20),
    cut=st.integers(0, 60),
)
@quick
def test_a_win_rate_is_over_the_last_games(rewards, window, cut):
    curriculum = new("prioritized_fictitious_self_play", agents=2, window=window)
    play(curriculum, 1, rewards[:cut])
    play(curriculum, 1, rewards[cut:])
    assert curriculum.win_rates()[1] == pytest.approx(np.mean([reward == 1 for reward in rewards[-window:]]))
    assert np.isnan(curriculum.win_rates()[0])


def test_the_state_of_a_program_that_kept_wide_counts_is_gone_on_from():
    curriculum, again = (new("prioritized_fictitious_self_play", agents=2, window=3) for _ in range(2))
    play(curriculum, 1, [1, 1, 0, 1])
    state = curriculum.state_dict()
    for name in ("games", "wins"):
        state["fields"][name] = state["fields"][name].astype(np.int64)
    again.load_state_dict(state)
    for each in (curriculum, again):
        play(each, 1, [0, 0])
    assert again.win_rates()[1] == curriculum.win_rates()[1] == pytest.approx(1 / 3)
    assert [again.games.dtype, again.wins.dtype] == [curriculum.games.dtype, curriculum.wins.dtype]


def test_games_beyond_32_bits_are_counted():
    curriculum = new("prioritized_fictitious_self_play", agents=2, window=3)
    play(curriculum, 1, [1, 1, 1])
    state = curriculum.state_dict()
    state["fields"]["games"] = np.where(state["fields"]["games"] > 0, 2**32 - 2, 0)
    curriculum.load_state_dict(state)
    play(curriculum, 1, [0, 0, 0, 1])
    assert curriculum.games.tolist()[1] == 2**32 + 2
    assert curriculum.win_rates()[1] == pytest.approx(1 / 3)
    curriculum.load_state_dict(curriculum.state_dict())
    assert curriculum.games.tolist()[1] == 2**32 + 2


def test_an_episode_with_a_return_above_0_is_a_win():
    curriculum = new("prioritized_fictitious_self_play", agents=2)
    ones = np.ones(4, dtype=np.int64)
    returns = np.array([3.5, -1.0, 0.0, 2.0])
    curriculum.update_on_episodes(EpisodeBatch(np.array([0, 0, 1, 0]), returns, ones, np.zeros(4), ones))
    assert curriculum.win_rates()[:2].tolist() == pytest.approx([2 / 3, 0.0])
    assert curriculum.num_episodes == 4


@pytest.mark.parametrize(
    ("metrics", "name"),
    [
        ({"opponents": [0]}, "opponents, rewards"),
        ({"opponents": [0], "rewards": [1, 1]}, "opponents, rewards"),
        ({"opponents": [0.5], "rewards": [1]}, "opponents"),
        ({"opponents": [0], "rewards": [np.nan]}, "rewards"),
        ({"opponents": [0, 7], "rewards": [1, 1]}, "opponents"),
        ({"opponents": [0], "rewards": [1], "games": [1]}, "games"),
    ],
)
def test_games_that_cannot_be_counted_are_refused_by_name_and_change_nothing(metrics, name):
    curriculum = new("prioritized_fictitious_self_play", agents=2)
    before = bits(curriculum.state_dict())
    with pytest.raises(ValueError, match=f"^{name}:"):
        curriculum.custom_update(**metrics)
    assert bits(curriculum.state_dict()) == before


def test_where_every_opponent_is_always_beaten_all_are_played_alike():
    curriculum = new("prioritized_fictitious_self_play", agents=2, smoothing_constant=0.0)
    play(curriculum, 0, [1])
    play(curriculum, 1, [1])
    assert curriculum.distribution().tolist() == [0.5, 0.5, 0, 0, 0, 0, 0, 0]
    assert set(curriculum.sample(40).tolist()) == {0, 1}


def test_a_space_without_end_needs_a_bound_on_agents():
    with pytest.raises(ValueError, match="max_agents"):
        new("fictitious_self_play", 2**62)
    curriculum = new("fictitious_self_play", 2**62, agents=3, max_agents=2)
    assert set(curriculum.sample(30).tolist()) == {1, 2}
