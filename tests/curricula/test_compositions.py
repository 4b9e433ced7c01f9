"""Dual and multi-agent curricula: what of a task, and of an episode, reaches which inner curriculum."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from syllabus_client.task_spaces import BoxTaskSpace, DiscreteTaskSpace, MultiDiscreteTaskSpace, TupleTaskSpace
from syllabus_service.curricula import EVALUATE, TRAIN, Curriculum, EpisodeBatch, InvalidParamsError, create

AGENTS = ("ada", "ben", "cid")
RANDOM = {"algorithm": "domain_randomization"}
FICTITIOUS = {"algorithm": "fictitious_self_play"}
PAIRS = TupleTaskSpace([5, 4])
quick = settings(max_examples=40, deadline=None, derandomize=True)


class Listening(Curriculum):
    """Remembers what it is told."""

    def __init__(self, task_space, **kwargs):
        super().__init__(task_space, **kwargs)
        self.episodes, self.progress, self.abandoned, self.updates = [], [], [], []

    def _draw(self, k):
        return self.task_space.sample(k, self.rng)

    def update_on_episode(self, episode_return, length, task, progress, env_id=None):
        super().update_on_episode(episode_return, length, task, progress, env_id)
        self.episodes.append((int(task), episode_return, env_id))

    def update_task_progress(self, task, progress, env_id=None):
        self.progress.append((int(task), progress, env_id))

    def on_abandoned(self, tasks):
        self.abandoned += tasks.tolist()

    def custom_update(self, **metrics):
        self.updates.append(metrics)


def batch(tasks, returns, agents=(), agent_returns=None):
    n = len(tasks)
    return EpisodeBatch(
        np.array(tasks),
        np.array(returns, dtype=np.float64),
        np.full(n, 7),
        np.zeros(n),
        np.arange(n) + 10,
        agents=agents,
        agent_returns=None if agent_returns is None else np.array(agent_returns, dtype=np.float64),
    )


def dual(task_space=PAIRS, env_curriculum=RANDOM, agent_curriculum=FICTITIOUS, agents=4, **params):
    given = {"env_curriculum": env_curriculum, "agent_curriculum": agent_curriculum, **params}
    curriculum = create("dual", task_space, given, seed=1)
    for i in range(agents):
        curriculum.add_agent(bytes([i]))
    return curriculum


# Known failures, line 21: what breaks in Syllabus 0.7


@pytest.mark.parametrize("k", [1, 33, 500])
def test_known_failure_21_a_dual_curriculum_draws_any_number_of_tasks(k):
    curriculum = dual()
    pairs = PAIRS.decode_many(curriculum.sample(k))
    assert len(pairs) == k
    if k == 500:
        assert set(pairs) == {(env, opponent) for env in range(5) for opponent in range(4)}


def test_known_failure_21_a_dual_curriculum_passes_task_progress_on():
    envs, opponents = Listening(PAIRS.components[0]), Listening(PAIRS.components[1])
    curriculum = dual(env_curriculum=envs, agent_curriculum=opponents, agents=0)
    curriculum.update_task_progress(PAIRS.encode((3, 2)), 0.5, 6)
    assert (envs.progress, opponents.progress) == ([(3, 0.5, 6)], [(2, 0.5, 6)])


@pytest.mark.parametrize("agents", [("ben",), ("cid", "ben"), ("ben", "ada", "cid")])
def test_known_failure_21_when_an_agent_has_left_the_others_get_their_own_rewards(agents):
    own = {"ada": np.nan, "ben": 20.0, "cid": 30.0}
    returns = [[own[agent] for agent in agents]]
    expected = {place: own[agent] for place, agent in enumerate(AGENTS) if agent in agents and agent != "ada"}

    space = MultiDiscreteTaskSpace([5, 5, 5])
    each = [Listening(DiscreteTaskSpace(5)) for _ in AGENTS]
    params = {"curricula": each, "possible_agents": AGENTS}
    independent = create("multi_agent_independent", space, params)
    independent.update_on_episodes(batch([space.encode((1, 2, 3))], [99.0], agents, returns))
    for place, inner in enumerate(each):
        heard = [(place + 1, expected[place], 10)] if place in expected else []
        assert inner.episodes == heard

    inner = Listening(DiscreteTaskSpace(5))
    shared = create("multi_agent_shared", DiscreteTaskSpace(5), {"curriculum": inner, "possible_agents": AGENTS})
    shared.update_on_episodes(batch([4], [99.0], agents, returns))
    assert inner.episodes == [(4, value, 10 * 3 + place) for place, value in expected.items()]


# Dual


def test_without_an_opponent_a_dual_curriculum_has_no_task_and_loses_none():
    space = TupleTaskSpace([DiscreteTaskSpace(["a", "b"]), 4])
    envs = Listening(space.components[0])
    curriculum = dual(space, env_curriculum=envs, agents=0)
    assert len(curriculum.draw(5)) == 0
    assert envs.abandoned == []
    curriculum.add_agent(b"x")
    assert len(curriculum.draw(5)) == 5


def test_a_component_that_was_drawn_in_vain_is_abandoned():
    class Short(Listening):
        def _draw(self, k):
            return super()._draw(min(k, 2))

    envs, opponents = Short(PAIRS.components[0]), Listening(PAIRS.components[1])
    curriculum = dual(env_curriculum=envs, agent_curriculum=opponents, agents=0)
    assert len(curriculum.draw(6)) == 2
    assert len(opponents.abandoned) == 4


def test_both_curricula_learn_from_an_episode():
    level_replay = {"algorithm": "prioritized_level_replay", "params": {"strategy": "uniform"}}
    curriculum = dual(env_curriculum=level_replay, agent_curriculum={"algorithm": "prioritized_fictitious_self_play"})
    tasks = PAIRS.encode_many([(3, 2), (1, 2), (3, 0)])
    curriculum.update_on_episodes(
        EpisodeBatch(tasks, np.array([1.0, -1.0, 1.0]), np.ones(3), np.zeros(3), np.arange(3), {"score": np.ones(3)})
    )
    envs, opponents = curriculum.inner
    assert np.flatnonzero(~np.isnan(envs.scores())).tolist() == [1, 3]
    assert opponents.win_rates().tolist() == pytest.approx([1.0, np.nan, 0.5, np.nan], nan_ok=True)
    assert envs.num_episodes == opponents.num_episodes == curriculum.num_episodes == 3


def test_an_update_reaches_the_inner_curriculum_that_it_is_for_with_its_component_of_tasks():
    envs, opponents = Listening(PAIRS.components[0]), Listening(PAIRS.components[1])
    curriculum = dual(env_curriculum=envs, agent_curriculum=opponents, agents=0)
    tasks = PAIRS.encode_many([(3, 2), (1, 0)]).reshape(2, 1)
    curriculum.custom_update(tasks=tasks, rewards=[1])
    curriculum.custom_update(to="agent", tasks=tasks)
    assert envs.updates[0]["tasks"].tolist() == [[3], [1]]
    assert envs.updates[0]["rewards"] == [1]
    assert opponents.updates[0]["tasks"].tolist() == [[2], [0]]
    with pytest.raises(ValueError, match=r"^to:"):
        curriculum.custom_update(to="nobody")
    with pytest.raises(ValueError, match=r"^tasks:"):
        curriculum.custom_update(tasks=[20])


def test_agents_are_had_from_the_opponents_curriculum():
    curriculum = dual(agents=2)
    assert curriculum.get_agent(1) == b"\1"
    with pytest.raises(ValueError, match="3"):
        curriculum.get_agent(3)
    with pytest.raises(ValueError, match="agent_curriculum"):
        dual(agent_curriculum=RANDOM, agents=0).add_agent(b"x")


def test_a_task_is_evaluated_where_one_of_its_components_is():
    robust = {"algorithm": "robust_prioritized_level_replay", "params": {"rho": 0.0, "replay_schedule": "fixed"}}
    curriculum = dual(env_curriculum=robust)
    curriculum.custom_update(tasks=PAIRS.encode_many([(2, 0)]), scores=[0.5])
    drawn = curriculum.draw(60)
    scored = np.array([env == 2 for env, _ in PAIRS.decode_many(drawn.tasks)])
    assert (drawn.purposes == np.where(scored, TRAIN, EVALUATE)).all()


def test_components_may_be_continuous():
    space = TupleTaskSpace([BoxTaskSpace([0.0, 0.0], [1.0, 2.0]), 4])
    curriculum = dual(space, agents=4)
    drawn = curriculum.draw(10)
    assert space.contains_encoded(drawn.tasks).all()
    assert drawn.probabilities is None


@pytest.mark.parametrize(
    ("params", "name"),
    [
        ({"env_curriculum": {"algorithm": "no_such"}}, "env_curriculum"),
        ({"env_curriculum": {"algorithm": "os:path"}}, "env_curriculum"),
        ({"agent_curriculum": {"algorithm": "fictitious_self_play", "params": {"no": 1}}}, "agent_curriculum.*no"),
        ({"agent_curriculum": {"name": "fictitious_self_play"}}, "agent_curriculum"),
        ({"env_curriculum": Listening(DiscreteTaskSpace(6))}, "env_curriculum"),
        ({"task_space": DiscreteTaskSpace(6)}, "task_space"),
        ({"task_space": TupleTaskSpace([2, 2, 2])}, "task_space"),
    ],
)
def test_a_dual_curriculum_that_cannot_be_built_is_refused_by_name(params, name):
    with pytest.raises(InvalidParamsError, match=name):
        dual(**params)


def test_inner_curricula_of_one_seed_draw_independently():
    curriculum = dual(TupleTaskSpace([4, 4]))
    pairs = PAIRS.decode_many(curriculum.sample(300))
    assert len(set(pairs)) > 12
    again = dual(TupleTaskSpace([4, 4]))
    assert again.sample(300).tolist() == dual(TupleTaskSpace([4, 4])).sample(300).tolist()


# Multi-agent


@given(data=st.data(), n=st.integers(0, 6))
@quick
def test_every_return_reaches_its_agents_curriculum_and_no_other(data, n):
    order = data.draw(st.permutations(AGENTS))
    agents = tuple(order[: data.draw(st.integers(1, 3))])
    value = st.one_of(st.just(np.nan), st.integers(-5, 5).map(float))
    returns = np.array(
        data.draw(st.lists(st.lists(value, min_size=len(agents), max_size=len(agents)), min_size=n, max_size=n)),
        dtype=np.float64,
    ).reshape(n, len(agents))
    space = MultiDiscreteTaskSpace([2, 3, 4], "tuple")
    each = [Listening(component) for component in space.components]
    curriculum = create("multi_agent_independent", space, {"curricula": each, "possible_agents": AGENTS})
    tasks = space.sample(n, np.random.default_rng(n))
    curriculum.update_on_episodes(batch(tasks, np.zeros(n), agents, returns))
    for place, agent in enumerate(AGENTS):
        column = returns[:, agents.index(agent)] if agent in agents else np.full(n, np.nan)
        expected = [(int(tasks[row, place]), value, 10 + row) for row, value in enumerate(column) if value == value]
        assert each[place].episodes == expected
    assert curriculum.num_episodes == n


def test_a_task_of_independent_curricula_is_a_tuple_with_one_task_for_each_agent():
    space = TupleTaskSpace([["a", "b"], 3])
    curriculum = create("multi_agent_independent", space, {"curricula": RANDOM, "possible_agents": ["x", "y"]}, seed=0)
    assert set(space.decode_many(curriculum.sample(200))) == {(a, b) for a in "ab" for b in range(3)}


def test_with_a_joint_policy_all_agents_are_one_environment():
    inner = Listening(DiscreteTaskSpace(5))
    params = {"curriculum": inner, "possible_agents": AGENTS, "joint_policy": True}
    shared = create("multi_agent_shared", DiscreteTaskSpace(5), params)
    shared.update_on_episodes(batch([4], [0.0], ("ben", "ada"), [[2.0, 1.0]]))
    assert inner.episodes == [(4, 1.0, 10), (4, 2.0, 10)]
    assert (inner.num_episodes, shared.num_episodes) == (2, 1)


@pytest.mark.parametrize("name", ["multi_agent_shared", "multi_agent_independent"])
def test_an_agent_that_is_not_possible_is_refused_by_name_and_nothing_is_learned(name):
    inner = Listening(DiscreteTaskSpace(5))
    if name == "multi_agent_shared":
        curriculum = create(name, DiscreteTaskSpace(5), {"curriculum": inner, "possible_agents": AGENTS})
    else:
        curriculum = create(name, TupleTaskSpace([5]), {"curricula": [inner], "possible_agents": ["ada"]})
    with pytest.raises(ValueError, match=r"^agents: .*'eve'"):
        curriculum.update_on_episodes(batch([1], [0.0], ("ada", "eve"), [[1.0, 2.0]]))
    assert inner.episodes == []
    assert curriculum.num_episodes == 0


@pytest.mark.parametrize(
    ("params", "name"),
    [
        ({"possible_agents": []}, "possible_agents"),
        ({"possible_agents": ["x", "x"]}, "possible_agents"),
        ({"possible_agents": ["x"]}, "task_space"),
        ({"curricula": [RANDOM]}, "curricula"),
    ],
)
def test_independent_curricula_that_cannot_be_built_are_refused_by_name(params, name):
    given = {"curricula": RANDOM, "possible_agents": ["x", "y"], **params}
    with pytest.raises(InvalidParamsError, match=name):
        create("multi_agent_independent", TupleTaskSpace([2, 3]), given)


def test_agents_of_a_shared_curriculum_are_those_of_its_self_play_and_others_take_none():
    def shared(curriculum, seed):
        return create("multi_agent_shared", DiscreteTaskSpace(4), {**params, "curriculum": curriculum}, seed=seed)

    params = {"possible_agents": list(AGENTS)}
    pool = shared(FICTITIOUS, seed=1)
    assert pool.stores_agents
    assert len(pool.sample(2)) == 0
    assert (pool.add_agent(b"first"), pool.add_agent(b"second")) == (0, 1)
    restored = shared(FICTITIOUS, seed=2)
    restored.load_state_dict(pool.state_dict())
    assert (restored.get_agent(0), restored.get_agent(1)) == (b"first", b"second")
    assert restored.sample(8).tolist() == pool.sample(8).tolist()

    plain = shared(RANDOM, seed=1)
    assert not plain.stores_agents
    with pytest.raises(ValueError, match="DomainRandomization stores no agents"):
        plain.add_agent(b"first")
