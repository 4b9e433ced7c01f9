"""The family of CartPole tasks, the policy, and an episode as one step."""

import gymnasium as gym
import numpy as np
import pytest

from examples.cartpole_family import FORCES, LENGTHS, NUM_TASKS, START, make_cartpole, set_task, task_space
from examples.linear_policy import NUM_PARAMETERS, evaluate, gains
from examples.policy_rollout import PolicyRollout


@pytest.fixture
def policy() -> np.ndarray:
    parameters = np.zeros(NUM_PARAMETERS)
    parameters[2:4] = 1.0, 0.3  # lean with the pole, whatever the task
    return parameters


class OneTask(gym.Wrapper):
    """Stands where the sync wrapper stands: gives the environment its task, and info the task's id."""

    def __init__(self, task_id: int) -> None:
        super().__init__(make_cartpole())
        self.task_id = task_id

    def reset(self, *, seed=None, options=None):
        observation, info = self.env.reset(seed=seed, options=options, new_task=task_space().decode(self.task_id))
        return observation, {**info, "task": self.task_id}


def test_the_space_holds_every_length_with_every_force():
    space = task_space()
    assert space.num_tasks == NUM_TASKS
    assert space.decode(0) == (LENGTHS[0], FORCES[0])
    assert space.decode(len(FORCES)) == (LENGTHS[1], FORCES[0])


def test_a_task_changes_the_pole_and_the_motor():
    env = make_cartpole()
    _, info = env.reset(seed=1, new_task=(2.0, 40.0))
    assert info["task"] == (2.0, 40.0)
    assert (env.unwrapped.length, env.unwrapped.force_mag) == (2.0, 40.0)
    assert env.unwrapped.polemass_length == pytest.approx(2.0 * env.unwrapped.masspole)


def test_a_new_task_moves_the_pole_another_way():
    after = []
    for task in ((0.5, 10.0), (0.5, 20.0), (1.0, 10.0)):
        env = make_cartpole()
        env.reset(seed=1, new_task=task)
        after.append(env.step(1)[0])
    assert not np.allclose(after[0], after[1])
    assert not np.allclose(after[0], after[2])


def test_task_completion_is_the_return_in_500ths():
    env = make_cartpole()
    env.reset(seed=1, new_task=(0.5, 10.0))
    steps, done = 0, False
    while not done:
        _, _, terminated, truncated, info = env.step(1)
        steps, done = steps + 1, terminated or truncated
    assert info["task_completion"] == steps / 500


def test_an_episode_as_one_step_gives_its_return_and_its_task(policy):
    env = PolicyRollout(OneTask(34))
    env.reset(seed=5)
    places, episode_return, terminated, truncated, info = env.step(policy)
    assert list(places) == [3, 4]
    assert not terminated
    assert not truncated
    assert episode_return == info["steps"] > 0


def test_the_seed_of_a_reset_is_the_seed_of_the_first_episode_only(policy):
    bad = -policy
    returns = []
    for _ in range(2):
        env = PolicyRollout(OneTask(34))
        env.reset(seed=5)
        returns.append([env.step(bad)[1] for _ in range(20)])
    assert returns[0] == returns[1]
    assert len(set(returns[0])) > 1


def test_the_evaluation_gives_what_single_environments_give(policy):
    """From the same start, step by step: the vector form with a task in each place is the same CartPole."""
    episodes = 2
    expected = np.zeros((NUM_TASKS, episodes))
    vector = gym.make_vec("CartPole-v1", num_envs=NUM_TASKS * episodes, vectorization_mode="vector_entry_point")
    starts = vector.reset(seed=7, options={"low": -START, "high": START})[0]
    exact = vector.unwrapped.state.T.reshape(NUM_TASKS, episodes, 4)
    assert np.abs(starts).max() <= START
    for task in range(NUM_TASKS):
        env = make_cartpole()
        for episode in range(episodes):
            env.reset(new_task=task_space().decode(task))
            env.unwrapped.state = exact[task, episode]
            observation, done = exact[task, episode].astype(np.float32), False
            while not done:
                observation, reward, terminated, truncated, _ = env.step(int(observation @ gains(policy, task) > 0))
                expected[task, episode] += reward
                done = terminated or truncated
    # A bang-bang controller may tip to the other side on the last bit of a sum: allow for a few such episodes.
    differing = np.abs(evaluate(policy, episodes, seed=7) - expected.mean(axis=1)) > 1e-9
    assert differing.sum() <= 3
    assert expected.min() < 10 < 400 < expected.max()  # impossible tasks, and solved ones


def test_the_gains_of_many_tasks_are_those_of_each(policy):
    parameters = np.random.default_rng(1).normal(size=NUM_PARAMETERS)
    many = gains(parameters, np.array([0, 34, 99]))
    assert many.shape == (3, 4)
    np.testing.assert_allclose(many[1], gains(parameters, 34))
    assert not np.allclose(many[0], many[2])


def test_setting_arrays_sets_each_environment_of_a_vector():
    env = gym.make_vec("CartPole-v1", num_envs=2, vectorization_mode="vector_entry_point")
    set_task(env.unwrapped, np.array([0.5, 5.0]), np.array([10.0, 10.0]))
    env.reset(seed=1)
    env.unwrapped.state[:] = 0.05
    observations = env.step(np.array([1, 1]))[0]
    assert abs(observations[0, 3]) > abs(observations[1, 3])  # the longer pole turns more slowly
