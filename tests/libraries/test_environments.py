"""Environments beyond toys: their levels and worlds as tasks."""

import gymnasium as gym
import numpy as np
import pytest

from examples.cartpole_lengths import LENGTHS, PoleLength
from examples.crafter_worlds import CrafterWorld
from examples.minigrid_levels import FlatView, MiniGridLevel
from examples.pettingzoo_pursuit import EVADERS, Pursuit
from syllabus_client import DiscreteTaskSpace, MultiProcessingSyncWrapper, make_multiprocessing_curriculum
from syllabus_service.curricula import create
from tests.libraries.ledger import check_ledger


@pytest.mark.parametrize("length", LENGTHS)
def test_a_task_is_the_length_of_the_pole_that_falls(length):
    env = PoleLength(gym.make("CartPole-v1"))
    env.reset(seed=1, new_task=length)
    assert env.unwrapped.length == length
    assert env.unwrapped.polemass_length == env.unwrapped.masspole * length
    after = [env.step(1)[0] for _ in range(3)][-1]
    env.reset(seed=1, new_task=0.7)
    assert [env.step(1)[0] for _ in range(3)][-1][3] != after[3]  # the pole turns at another speed


@pytest.mark.parametrize("evaders", EVADERS)
def test_a_task_of_pursuit_is_how_many_there_are_to_catch(evaders):
    env = Pursuit()
    observations, _ = env.reset(seed=1, new_task=evaders)
    assert env.task == evaders
    assert env.unwrapped.env.n_evaders == evaders
    assert env.unwrapped.env.evader_layer.n_agents() == evaders
    # The third layer of what a pursuer sees, of the field around it, is the evaders.
    assert max(seen[..., 2].sum() for seen in observations.values()) <= evaders
    env.close()


def test_a_minigrid_task_is_a_level():
    env = MiniGridLevel(gym.make("MiniGrid-FourRooms-v0"))

    def level(task):
        env.reset(new_task=task)
        return env.unwrapped.grid.encode().tobytes() + bytes(env.unwrapped.agent_pos)

    levels = [level(task) for task in (1, 2, 3, 1, 2, 3)]
    assert levels[:3] == levels[3:]
    assert len(set(levels)) == 3


def test_a_level_is_completed_when_its_goal_is_reached():
    env = MiniGridLevel(FlatView(gym.make("MiniGrid-Empty-5x5-v0")))
    env.reset(new_task=0)
    forward, right = 2, 1
    steps = [env.step(action) for action in (forward, forward, right, forward, forward)]
    assert [info["task_completion"] for *_, info in steps] == [0.0, 0.0, 0.0, 0.0, 1.0]
    assert steps[-1][2]


def test_a_crafter_task_is_a_world_and_its_episodes_are_counted():
    worlds = create("manual", DiscreteTaskSpace(10), {"tasks": [4, 7, 4]}, seed=1)
    curriculum, *queues = make_multiprocessing_curriculum(worlds)
    env = MultiProcessingSyncWrapper(CrafterWorld(length=12), *queues)
    first, returns = [], []
    for _ in range(3):
        observation, _ = env.reset()
        assert env.observation_space.contains(observation)
        first.append(observation)
        episode_return, over = 0.0, False
        while not over:
            _, reward, terminated, truncated, info = env.step(0)
            episode_return += reward
            over = terminated or truncated
        assert truncated
        assert 0.0 <= info["task_completion"] < 1.0
        returns.append(episode_return)
    env.close()
    check_ledger(curriculum, returns)
    assert curriculum.statistics().tasks.num_episodes.tolist() == [2, 1]
    curriculum.close()
    np.testing.assert_array_equal(first[0], first[2])
    assert (first[0] != first[1]).any()
