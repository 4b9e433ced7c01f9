"""Every curriculum that Syllabus publishes, hosted: it is told what Syllabus's wrappers tell it, or refused by name."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import cloudpickle
import gymnasium as gym
import numpy as np
import pytest

from syllabus_client import (
    CurriculumClient,
    GymnasiumSyncWrapper,
    PettingZooSyncWrapper,
    SessionSettings,
    TaskEnv,
    make_multiprocessing_curriculum,
)
from syllabus_client.task_spaces import DiscreteTaskSpace
from syllabus_client.wire import codec
from syllabus_client.wire import curriculum_pb2 as pb
from syllabus_service.curricula import EpisodeBatch
from syllabus_service.curricula.syllabus_adapter import SyllabusCurriculum, host_syllabus
from syllabus_service.host import CurriculumHost
from tests.host.driving import Driver, episodes
from tests.service_process import ServiceProcess

pytestmark = pytest.mark.syllabus
syllabus = pytest.importorskip("syllabus.curricula", reason="make test-syllabus installs syllabus-rl")
core = pytest.importorskip("syllabus.core", reason="make test-syllabus installs syllabus-rl")
spaces = pytest.importorskip("syllabus.task_space", reason="make test-syllabus installs syllabus-rl")

N = 12
FRESH = SessionSettings(prefetch=0)  # a task is drawn after all that was reported before


def _discrete(count: int = N) -> Any:
    return spaces.DiscreteTaskSpace(count)


def _stratified() -> Any:
    strata = [list(range(6)), list(range(6, N))]
    return spaces.StratifiedDiscreteTaskSpace(strata, strata)


def _box() -> Any:
    return spaces.BoxTaskSpace(gym.spaces.Box(0.0, 8.0, (2,), np.float64))


class Evaluator:
    """Success rates that change from one evaluation to the next."""

    def __init__(self, tensors: bool = True) -> None:
        self.rates = np.linspace(0.1, 0.6, N)
        self.tensors = tensors

    def evaluate_agent(self, *args: Any, **kwargs: Any) -> Any:
        """What Syllabus's evaluators answer with: returns, success rates, final ones, lengths."""
        import torch

        self.rates = np.roll(self.rates, 1)
        rates = torch.tensor(self.rates) if self.tensors else self.rates.copy()
        return rates, rates, rates, rates


class Steps(TaskEnv[Any, int]):
    """Task t is completed where t is even; an episode takes three steps, and pays 1 for each where it is completed."""

    observation_space = gym.spaces.Dict(
        {"place": gym.spaces.Box(0, 9, (2,), np.float32), "image": gym.spaces.Box(0, 255, (1100, 1000), np.uint8)}
    )
    action_space = gym.spaces.Discrete(2)

    def _observe(self) -> dict[str, np.ndarray]:
        place = np.array([self.steps, self.task], dtype=np.float32)
        return {"place": place, "image": np.zeros((1100, 1000), np.uint8)}  # more than 1 MiB

    def reset(self, *, seed: Any = None, options: Any = None, new_task: Any = None) -> Any:
        super().reset(seed=seed, new_task=new_task)
        self.steps = 0
        return self._observe(), {}

    def step(self, action: int) -> Any:
        self.steps += 1
        done = self.steps == 3
        even = self.task % 2 == 0
        return self._observe(), float(even), done, False, {"task_completion": float(done and even)}


def _play(env: gym.Env[Any, Any], count: int) -> list[int]:
    """The tasks of ``count`` episodes."""
    tasks = []
    for _ in range(count):
        _, info = env.reset()
        tasks.append(int(info["task"]))
        over = False
        while not over:
            _, _, terminated, truncated, _ = env.step(0)
            over = terminated or truncated
    return tasks


@contextmanager
def _embedded(curriculum: Any, **options: Any) -> Iterator[tuple[CurriculumClient, GymnasiumSyncWrapper[Any, Any]]]:
    client, task_queue, _ = make_multiprocessing_curriculum(curriculum)
    with client, closing(GymnasiumSyncWrapper(Steps(), task_queue, settings=FRESH, **options)) as env:
        yield client, env


# What is learned from an episode's task completion


def test_learning_progress_behind_a_wrapper_moves_its_distribution_to_what_succeeds() -> None:
    hosted = host_syllabus(syllabus.OnlineLearningProgress(_discrete(), update_interval=40), seed=1)
    with _embedded(hosted) as (client, env):
        np.testing.assert_allclose(client.distribution(), np.full(N, 1 / N))
        _play(env, 80)
        distribution = client.distribution()
        later = np.array(_play(env, 60))
    assert distribution[::2].sum() > 0.8
    assert distribution[::2].min() > distribution[1::2].max()
    assert np.mean(later % 2 == 0) > 0.7  # 0.875 is expected


class OnlyFive(syllabus.DomainRandomization):  # type: ignore[misc, name-defined]
    """Draws task 5 once its warm-up is over."""

    def _sample_distribution(self) -> list[float]:
        return [float(task == 5) for task in range(self.num_tasks)]


def test_a_warm_up_ends_after_as_many_episodes_as_it_was_given() -> None:
    hosted = host_syllabus(OnlyFive(_discrete(), random_start_tasks=20), seed=1)
    with _embedded(hosted) as (_, env):
        tasks = _play(env, 40)
    assert len(set(tasks[:20])) > 5
    assert set(tasks[20:]) == {5}


def test_an_expanding_box_grows_by_successes_and_falls_back_by_none() -> None:
    hosted = host_syllabus(syllabus.ExpandingBox(_box(), steps=4, required_successes=3), seed=1)
    assert hosted.sample(2).tolist() == [[3.0, 5.0]] * 2

    def tell(*progress: float) -> list[float]:
        tasks = hosted.sample(len(progress))
        count = np.ones(len(progress))
        hosted.update_on_episodes(
            EpisodeBatch(tasks, count, count.astype(np.int64), np.array(progress), np.zeros(len(progress), np.int64))
        )
        return hosted.sample(1)[0].tolist()

    assert tell(1.0, 1.0) == [3.0, 5.0]
    assert tell(1.0) == [2.0, 6.0]
    assert tell(1.0, 1.0, 0.2, 1.0, 1.0) == [2.0, 6.0]


def test_an_episode_is_told_with_its_progress_first() -> None:
    calls: list[Any] = []

    class Recorder(syllabus.DomainRandomization):  # type: ignore[misc, name-defined]
        def update_task_progress(self, task: Any, progress: Any, env_id: Any = None) -> None:
            calls.append(("progress", task, progress, env_id))

        def update_on_episode(
            self, episode_return: Any, length: Any, task: Any, progress: Any, env_id: Any = None
        ) -> None:
            calls.append(("episode", task, episode_return, length, progress, env_id))

    hosted = host_syllabus(Recorder(_discrete()))
    hosted.update_on_episodes(
        EpisodeBatch(np.array([3, 4]), np.array([1.5, 2.5]), np.array([7, 8]), np.array([0.5, 1.0]), np.array([9, 8]))
    )
    assert calls == [
        ("progress", 3, 0.5, 9),
        ("episode", 3, 1.5, 7, 0.5, 9),
        ("progress", 4, 1.0, 8),
        ("episode", 4, 2.5, 8, 1.0, 8),
    ]


# One report that the object does not take


class Fragile(syllabus.DomainRandomization):  # type: ignore[misc, name-defined]
    """Notes what it is told, and raises for environment 3."""

    requires_step_updates = True

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.calls: list[Any] = []

    def update_on_episode(self, episode_return: Any, length: Any, task: Any, progress: Any, env_id: Any = None) -> None:
        if episode_return < 0:
            raise RuntimeError("no use for it")
        self.calls.append(("episode", env_id, episode_return))

    def update_on_step_batch(self, step_results: Any, env_id: Any = None) -> None:
        if step_results[2][0] < 0:
            raise RuntimeError("no use for these steps")
        self.calls.append(("steps", env_id, step_results[2].tolist()))


def _steps(ids: Any, env_ids: Any, rewards: Any, ends: Any) -> pb.StepBatch:
    return pb.StepBatch(
        assignment_id=codec.to_tensor(np.asarray(ids, np.uint64)),
        reward=codec.to_tensor(np.asarray(rewards, np.float64)),
        terminated=codec.to_tensor(np.asarray(ends, np.bool_)),
        truncated=codec.to_tensor(np.zeros(len(ids), np.bool_)),
        env_id=codec.to_tensor(np.asarray(env_ids, np.int64)),
    )


def _ends_of(ids: np.ndarray, env_ids: Any, returns: Any) -> pb.EpisodeBatch:
    message = episodes(ids, returns)
    message.env_id.CopyFrom(codec.to_tensor(np.asarray(env_ids, np.int64)))
    return message


def test_an_episode_that_the_object_does_not_take_is_refused_alone() -> None:
    hosted = host_syllabus(fragile := Fragile(_discrete()), seed=1)
    worker = Driver(host := CurriculumHost(hosted))
    ids, _ = worker.draw(4)
    reply = worker.send(episodes=episodes(ids, [1.0, 2.0, -3.0, 4.0]))
    assert [(each.part, each.row) for each in reply.rejections] == [(pb.BATCH_PART_EPISODES, 2)]
    assert "no use for it" in reply.curriculum_error
    assert [call[2] for call in fragile.calls] == [1.0, 2.0, 4.0]
    assert (host.summary().num_episodes, hosted.num_episodes) == (3, 3)


def test_steps_that_the_object_does_not_take_are_refused_for_their_environment_alone() -> None:
    hosted = host_syllabus(fragile := Fragile(_discrete()), seed=1)
    worker = Driver(CurriculumHost(hosted))
    (one, two, three), _ = worker.draw(3)
    steps = _steps([one, one, two, two, three], [1, 1, 2, 2, 3], [1, 1, -1, 2, 3], [False] * 5)
    reply = worker.send(steps=steps)
    assert [each.row for each in reply.rejections] == [2, 3]
    assert fragile.calls == [("steps", 1, [1.0, 1.0]), ("steps", 3, [3.0])]


def test_steps_that_had_to_wait_for_an_episode_are_no_reason_to_refuse_it() -> None:
    """An environment's next episode is told after this one; where its steps raise, this one and the draws stand."""
    hosted = host_syllabus(fragile := Fragile(_discrete()), seed=1)
    worker = Driver(host := CurriculumHost(hosted))
    (first, second, third), _ = worker.draw(3)
    steps = _steps([first, second, third], [1, 1, 1], [1, -2, 3], [True, True, False])
    reply = worker.send(steps=steps, episodes=_ends_of([first, second], [1, 1], [1.0, 2.0]), num_tasks=2)
    assert fragile.calls == [("steps", 1, [1.0]), ("episode", 1, 1.0), ("episode", 1, 2.0), ("steps", 1, [3.0])]
    assert "no use for these steps" in reply.curriculum_error
    assert host.summary().num_episodes == 2
    assert len(codec.from_tensor(reply.tasks.task, "tasks")) == 2


def test_steps_wait_for_an_episode_that_comes_with_a_later_report() -> None:
    hosted = host_syllabus(fragile := Fragile(_discrete()), seed=1)
    worker = Driver(CurriculumHost(hosted))
    (first, second), _ = worker.draw(2)
    worker.send(steps=_steps([first], [1], [1], [True]))
    worker.send(steps=_steps([second], [1], [2], [False]), episodes=_ends_of([first], [1], [1.0]))
    assert fragile.calls == [("steps", 1, [1.0]), ("episode", 1, 1.0), ("steps", 1, [2.0])]


# All of Syllabus's curricula

WORK: dict[str, Callable[[], Any]] = {
    "ExpandingBox": lambda: syllabus.ExpandingBox(_box()),
    "SimulatedAnnealing": lambda: syllabus.SimulatedAnnealing(
        _box(), start_values=[0.0, 1.0], end_values=[4.0, 8.0], total_steps=100
    ),
    "LearningProgress": lambda: syllabus.LearningProgress(Evaluator(), _discrete(), eval_interval=5),
    "Learnability": lambda: syllabus.Learnability(Evaluator(tensors=False), _discrete(), topk=3, eval_interval=5),
    "OMNI": lambda: syllabus.OMNI(Evaluator(), _discrete(), eval_interval=5),
    "OMNILearnability": lambda: syllabus.OMNILearnability(
        Evaluator(tensors=False), _discrete(), topk=3, eval_interval=5
    ),
    "StratifiedDomainRandomization": lambda: syllabus.StratifiedDomainRandomization(
        Evaluator(), _stratified(), eval_interval=5
    ),
    "StratifiedLearningProgress": lambda: syllabus.StratifiedLearningProgress(
        Evaluator(), _stratified(), eval_interval=5
    ),
    "StratifiedLearnability": lambda: syllabus.StratifiedLearnability(
        Evaluator(tensors=False), _stratified(), eval_interval=5
    ),
    "StratifiedOnlineLearningProgress": lambda: syllabus.StratifiedOnlineLearningProgress(
        _stratified(), update_interval=5
    ),
    "MultiagentSharedCurriculumWrapper": lambda: core.MultiagentSharedCurriculumWrapper(
        syllabus.OnlineLearningProgress(_discrete(), update_interval=5), ["red", "blue"]
    ),
    "MultiagentIndependentCurriculumWrapper": lambda: core.MultiagentIndependentCurriculumWrapper(
        syllabus.DomainRandomization(_discrete()), ["red", "blue"]
    ),
}
"""Those that test_syllabus_adapter does not host. (Learnability reverses an array of the rates by a step of -1, which
no tensor can: it takes evaluators that answer with arrays.)"""

ELSEWHERE = {
    "BatchedDomainRandomization",
    "CentralPrioritizedLevelReplay",
    "Constant",
    "DomainRandomization",
    "OnlineLearningProgress",
    "PrioritizedLevelReplay",
    "SequentialCurriculum",
}
"""Those that it, or a test of its own, hosts."""

REFUSED = {
    "DirectPrioritizedLevelReplay": "prioritized_level_replay",
    "Manual": "manual",
    "SyncedBatchedDomainRandomization": "synced_batched_domain_randomization",
    "SelfPlay": "self_play",
    "FictitiousSelfPlay": "fictitious_self_play",
    "PrioritizedFictitiousSelfPlay": "prioritized_fictitious_self_play",
    "DualCurriculumWrapper": "dual",
}


def test_no_curriculum_of_syllabus_is_missing_here() -> None:
    published = {
        name
        for module in (syllabus, core)
        for name, kind in vars(module).items()
        if isinstance(kind, type) and hasattr(kind, "update_on_episode")
    }
    interfaces = {"Curriculum", "CurriculumWrapper", "CurriculumSyncWrapper", "RayCurriculumSyncWrapper"}
    assert published - interfaces == set(WORK) | ELSEWHERE | set(REFUSED)


def _run(hosted: SyllabusCurriculum) -> list[Any]:
    drawn = []
    for _ in range(8):
        tasks = hosted.sample(5)
        drawn += tasks.tolist()
        agents = (
            np.stack([np.arange(5.0), np.ones(5)], axis=1) if "Multiagent" in type(hosted._hosted).__name__ else None
        )
        numbers = np.arange(5)
        hosted.update_on_episodes(
            EpisodeBatch(
                tasks,
                numbers.astype(np.float64),
                np.full(5, 7),
                (numbers % 2).astype(np.float64),
                numbers % 2,
                agents=() if agents is None else ("red", "blue"),
                agent_returns=agents,
            )
        )
    return drawn


@pytest.mark.parametrize("name", WORK)
def test_it_draws_tasks_of_its_space_and_the_same_ones_in_a_copy_and_in_another_process(name: str) -> None:
    hosted = host_syllabus(WORK[name](), seed=4)
    copied = copy.deepcopy(hosted)
    travelled = pickle.loads(cloudpickle.dumps(hosted))
    drawn = _run(hosted)
    assert hosted.task_space.contains_encoded(np.array(drawn)).all()
    assert _run(copied) == drawn
    assert _run(travelled) == drawn
    if hosted.task_space.num_tasks is not None:
        assert hosted.distribution().sum() == pytest.approx(1.0)


def test_annealing_follows_the_steps_of_the_episodes() -> None:
    hosted = host_syllabus(WORK["SimulatedAnnealing"](), seed=4)
    _run(hosted)
    np.testing.assert_allclose(hosted.sample(1), [[4.0, 8.0]])


def test_level_replay_without_scores_says_that_it_has_no_distribution() -> None:
    hosted = host_syllabus(syllabus.CentralPrioritizedLevelReplay(_discrete(), num_steps=4, num_processes=2))
    with pytest.raises(NotImplementedError, match="does not tell its distribution"):
        hosted.distribution()


def test_direct_level_replay_is_refused_because_the_published_one_cannot_be_updated() -> None:
    import torch

    direct = syllabus.DirectPrioritizedLevelReplay(_discrete(), num_steps=1, num_processes=1)
    with pytest.raises(AttributeError, match="_update_with_scores"):
        direct.update(torch.ones(1, 1), torch.ones(1, 1), torch.ones(1, 1))


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_not_work_is_refused_with_the_curriculum_that_does(name: str) -> None:
    kind = getattr(syllabus, name, None) or getattr(core, name)
    made = object.__new__(kind)  # whatever it is made of
    with pytest.raises(TypeError, match=f"{name} cannot be hosted.*'{REFUSED[name]}'"):
        SyllabusCurriculum(DiscreteTaskSpace(N), make=lambda: made)
    wrapped = object.__new__(core.MultiagentSharedCurriculumWrapper)
    vars(wrapped)["curriculum"] = made
    with pytest.raises(TypeError, match=f"{name} cannot be hosted"):
        SyllabusCurriculum(DiscreteTaskSpace(N), make=lambda: wrapped)


# On a service of its own

ALLOWED = "tests.syllabus.hosted:"


@pytest.fixture
def hosting(start_service: Callable[..., ServiceProcess], monkeypatch: pytest.MonkeyPatch) -> ServiceProcess:
    """A service beside which the tests' curricula are installed."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[2]))
    return start_service("--allow-curriculum", ALLOWED + "HostedLevelReplay")


def test_level_replay_values_dict_observations_that_came_without_their_images(hosting: ServiceProcess) -> None:
    with closing(CurriculumClient(hosting.target, curriculum="levels")) as curriculum:
        curriculum.create(ALLOWED + "HostedLevelReplay", DiscreteTaskSpace(N), seed=2)
        envs = [
            GymnasiumSyncWrapper(Steps(), hosting.target, curriculum="levels", settings=FRESH, remove_keys=["image"])
            for _ in range(2)
        ]
        played = [task for _ in range(10) for env in envs for task in _play(env, 1)]
        for env in envs:
            env.close()
        told = curriculum.custom_update(report=True)
        summary = curriculum.summary()
        assert (summary.num_episodes, summary.num_curriculum_errors, summary.num_rejected) == (20, 0, 0)
        assert told["other_keys"] == 0
        # The value of a state is its number of steps, and nothing is paid for odd tasks.
        scored = np.flatnonzero(told["scores"])
        assert 0 < len(scored) <= len(set(played))
        assert set(scored) <= set(played)
        assert np.ptp(curriculum.distribution()) > 0.0


def test_a_shared_curriculum_is_told_the_returns_of_the_agents_by_name() -> None:
    from tests.wrappers.test_pettingzoo import Relay

    wrapper = core.MultiagentSharedCurriculumWrapper(
        syllabus.OnlineLearningProgress(_discrete(), update_interval=6), Relay.possible_agents
    )
    client, task_queue, _ = make_multiprocessing_curriculum(host_syllabus(wrapper, seed=1))
    with client:
        env = PettingZooSyncWrapper(Relay(), task_queue, settings=FRESH)
        for _ in range(6):
            env.reset()
            while env.agents:
                env.step(dict.fromkeys(env.agents, 0))
        env.close()
        assert client.summary().num_curriculum_errors == 0
        assert client.statistics().total.num_episodes.tolist() == [6]
        assert np.ptp(client.distribution()) > 0.0  # each agent's completed task counts as a success
