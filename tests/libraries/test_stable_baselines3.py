"""Stable Baselines 3."""

import threading

import gymnasium as gym
import numpy as np
import pytest
from stable_baselines3 import PPO
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from examples import stable_baselines3_ppo as example
from examples.cartpole_lengths import PoleLength
from examples.stable_baselines3_callback import CurriculumCallback
from syllabus_client import (
    CurriculumClient,
    DiscreteTaskSpace,
    GymnasiumSyncWrapper,
    make_multiprocessing_curriculum,
)
from syllabus_client.multiprocessing import EmbeddedQueue
from syllabus_service.curricula import create
from tests.libraries.ledger import check_ledger, kept_curricula, monitored_returns

SMALL = ["--num-envs", "2", "--num-steps", "128", "--total-timesteps", "1024"]


@pytest.mark.parametrize("start_method", ["none", "fork", "forkserver", "spawn"])
def test_every_episode_is_counted_once(start_method, monkeypatch, tmp_path):
    args = example.parse([*SMALL, "--start-method", start_method, "--log-dir", f"{tmp_path}/"])
    with kept_curricula(example, monkeypatch) as kept:
        example.main(args)
        check_ledger(kept[0], monitored_returns(tmp_path / "monitor.csv"))
        distribution = kept[0].distribution()
    assert np.ptp(distribution) > 0.01  # the rollouts have reached level replay
    events = EventAccumulator(str(next(tmp_path.glob("PPO_*"))))
    events.Reload()
    assert [each.step for each in events.Scalars("curriculum/episodes")] == [256, 512, 768, 1024]


def test_it_learns(monkeypatch, tmp_path):
    args = example.parse(["--total-timesteps", "16384", "--start-method", "none", "--log-dir", f"{tmp_path}/"])
    with kept_curricula(example, monkeypatch) as kept:
        example.main(args)
        returns = monitored_returns(tmp_path / "monitor.csv")
        check_ledger(kept[0], returns)
    assert np.mean(returns[-50:]) > 2 * np.mean(returns[:50])


def test_training_goes_on_and_the_ledger_balances_when_the_service_is_killed_twice(
    start_service, monkeypatch, tmp_path
):
    """``kill -9`` and a restart on the same data, while environments in processes of their own run and a rollout is
    sent: each time from another thread, so that training meets a service that is away."""
    service = start_service()
    client = CurriculumClient(service.target, curriculum="poles", timeout=100)

    def make(lengths):  # type: ignore[no-untyped-def]
        client.create("prioritized_level_replay", lengths.task_space, seed=1)
        return client, *[EmbeddedQueue(service.target, "poles")] * 2

    monkeypatch.setattr(example, "make_multiprocessing_curriculum", make)
    restarts: list[threading.Thread] = []

    class KillsTheService(CurriculumCallback):
        def _on_rollout_end(self) -> None:
            if self.num_timesteps in (1024, 3072):
                restarts.append(threading.Thread(target=service.restart))
                restarts[-1].start()
            super()._on_rollout_end()

    monkeypatch.setattr(example, "CurriculumCallback", KillsTheService)
    arguments = ["--num-envs", "2", "--num-steps", "128", "--total-timesteps", "5120", "--start-method", "forkserver"]
    example.main(example.parse([*arguments, "--log-dir", f"{tmp_path}/"]))
    for restart in restarts:
        restart.join()
    assert len(restarts) == 2
    with CurriculumClient(service.target, curriculum="poles") as after:
        check_ledger(after, monitored_returns(tmp_path / "monitor.csv"))


def test_the_service_counts_the_rewards_that_pass_through_its_wrapper():
    """What is inside of the sync wrapper changes them; a Monitor, a VecMonitor or a VecNormalize around it doesn't."""
    lengths = create("domain_randomization", DiscreteTaskSpace([0.25, 0.5]), seed=1)
    curriculum, task_queue, _ = make_multiprocessing_curriculum(lengths)
    monitors = []

    def make_env() -> gym.Env:
        inner = Monitor(PoleLength(gym.make("CartPole-v1")), allow_early_resets=True)
        doubled = PoleLength(gym.wrappers.TransformReward(inner, lambda reward: 2.0 * float(reward)))
        outer = Monitor(GymnasiumSyncWrapper(doubled, task_queue))
        monitors.append((inner, outer))
        return outer

    vec_env = VecNormalize(DummyVecEnv([make_env] * 2), norm_reward=True)
    model = PPO("MlpPolicy", vec_env, n_steps=64, seed=1, device="cpu")
    model.set_logger(Logger(None, []))
    model.learn(512)
    vec_env.close()
    ((first, first_outer), (second, second_outer)) = monitors
    seen_outside = first_outer.get_episode_rewards() + second_outer.get_episode_rewards()
    seen_inside = first.get_episode_rewards() + second.get_episode_rewards()
    check_ledger(curriculum, seen_outside)
    curriculum.close()
    np.testing.assert_allclose(seen_outside, 2.0 * np.array(seen_inside))
