"""A thousand environments in one process."""

import numpy as np
from gymnasium.wrappers.vector import RecordEpisodeStatistics

from examples import vectorised
from examples.cartpole_family import START, make_cartpole
from examples.learning_curves import draw, train
from examples.vectorised_cartpole import VectorCartPoleFamily
from syllabus_client import DiscreteTaskSpace, VectorSyncWrapper, make_multiprocessing_curriculum
from syllabus_service.curricula import create
from tests.libraries.ledger import check_ledger, kept_curricula


def test_every_episode_of_1024_environments_is_counted_once_and_they_learn(monkeypatch):
    with kept_curricula(vectorised, monkeypatch) as kept:
        episode_returns = vectorised.main(vectorised.parse(["--total-timesteps", "163840"]))
        check_ledger(kept[0], episode_returns)
        assert kept[0].statistics().tasks.tasks.tolist() == list(range(len(vectorised.PLACES)))
    assert np.mean(episode_returns[-500:]) > 3 * np.mean(episode_returns[:500])


def test_a_place_holds_for_an_episode_and_is_the_one_that_the_curriculum_gave():
    places = create("domain_randomization", DiscreteTaskSpace(vectorised.PLACES), seed=1)
    curriculum, task_queue, _ = make_multiprocessing_curriculum(places)
    pool = vectorised.envpool.make("CartPole-v1", env_type="gymnasium", num_envs=16, seed=1)
    envs = VectorSyncWrapper(vectorised.StandAt(pool), task_queue)
    observations, infos = envs.reset()
    resets = 0
    over = np.zeros(16, dtype=bool)
    for _ in range(200):
        before = observations[:, 4]
        np.testing.assert_allclose(before, np.array(vectorised.PLACES)[infos["task"]], rtol=1e-6)
        observations, rewards, terminated, truncated, infos = envs.step(np.ones(16, dtype=np.int64))
        np.testing.assert_array_equal(observations[~over, 4], before[~over])
        assert not rewards[over].any()
        over = terminated | truncated
        resets += over.sum()
    envs.close()
    curriculum.close()
    assert resets > 100


def test_the_vectorised_family_moves_as_the_single_one_does():
    tasks = [(0.05, 0.7), (0.5, 10.0), (5.0, 80.0)]
    envs, single = VectorCartPoleFamily(3), make_cartpole()
    envs.set_tasks(np.ones(3, dtype=bool), tasks)
    observations, _ = envs.reset(seed=1)
    assert (np.abs(observations[:, :4]) <= START).all()
    starts = envs.unwrapped.state.T.copy()
    actions = np.array([1, 0, 1, 1])
    seen = [envs.step(np.full(3, action))[0][:, :4] for action in actions]
    for number, task in enumerate(tasks):
        single.reset(new_task=task)
        single.unwrapped.state = starts[number]
        for row, action in zip(seen, actions, strict=True):
            np.testing.assert_allclose(single.step(int(action))[0], row[number], rtol=1e-4, atol=1e-6)


def test_a_task_set_ahead_waits_for_the_reset():
    envs = RecordEpisodeStatistics(VectorCartPoleFamily(2))
    everyone = np.ones(2, dtype=bool)
    family = envs.env
    family.set_tasks(everyone, [(0.5, 10.0)] * 2)
    first, _ = envs.reset(seed=1)
    family.set_tasks(everyone, [(5.0, 20.0)] * 2)
    over = np.zeros(2, dtype=bool)
    while not over.any():
        assert family.unwrapped.length.tolist() == [0.5, 0.5]
        observations, _, terminated, truncated, _ = envs.step(np.ones(2, dtype=np.int64))
        over = terminated | truncated
    assert (observations[:, 4:] == first[:, 4:]).all()
    observations, *_ = envs.step(np.ones(2, dtype=np.int64))
    assert (family.unwrapped.length == np.where(over, 5.0, 0.5)).all()
    assert ((observations[:, 4:] != first[:, 4:]).all(axis=1) == over).all()


def test_learning_curves_are_evaluated_and_drawn(tmp_path):
    names = ("domain_randomization", "prioritized_level_replay", "online_learning_progress")
    run = train(names[1], 1, 2 * 256 * 64, 2)
    assert run["steps"] == (0, 256 * 64, 2 * 256 * 64)
    assert all(5 < mean <= 500 for mean in run["returns"])
    assert run["episodes"] > 0
    draw([{**run, "curriculum": name} for name in names], tmp_path / "curves.png")
    assert (tmp_path / "curves.png").stat().st_size > 10_000
