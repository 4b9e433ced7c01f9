"""Curricula of the published Syllabus, hosted: what they draw, what they are told, and what a crash leaves."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from syllabus_client import CurriculumClient, GymnasiumSyncWrapper, SessionSettings, make_multiprocessing_curriculum
from syllabus_client.task_spaces import BoxTaskSpace, DiscreteTaskSpace, MultiDiscreteTaskSpace
from syllabus_service.curricula import EpisodeBatch, StepBatch
from syllabus_service.curricula.syllabus_adapter import SyllabusCurriculum, host_syllabus, task_space_of
from tests.service_process import ServiceProcess
from tests.wrappers.environments import LedgerEnv

pytestmark = pytest.mark.syllabus
syllabus = pytest.importorskip("syllabus.curricula", reason="make test-syllabus installs syllabus-rl")
spaces = pytest.importorskip("syllabus.task_space", reason="make test-syllabus installs syllabus-rl")

N = 12


def _discrete(count: int = N) -> Any:
    return spaces.DiscreteTaskSpace(count)


class Evaluator:
    """Success rates that change from one evaluation to the next."""

    def __init__(self) -> None:
        self.rates = np.linspace(0.1, 0.6, N)

    def evaluate_agent(self, *args: Any, **kwargs: Any) -> Any:
        """What Syllabus's evaluators answer with: returns, success rates, final ones, lengths."""
        import torch

        self.rates = np.roll(self.rates, 1)
        rates = torch.tensor(self.rates)
        return rates, rates, rates, rates


MAKERS: dict[str, Callable[[], Any]] = {
    "DomainRandomization": lambda: syllabus.DomainRandomization(_discrete()),
    "BatchedDomainRandomization": lambda: syllabus.BatchedDomainRandomization(8, _discrete()),
    "Constant": lambda: syllabus.Constant(3, _discrete()),
    "OnlineLearningProgress": lambda: syllabus.OnlineLearningProgress(_discrete(), update_interval=5),
    "CentralPrioritizedLevelReplay": lambda: syllabus.CentralPrioritizedLevelReplay(
        _discrete(), num_steps=4, num_processes=2, task_sampler_kwargs_dict={"strategy": "value_l1"}
    ),
    "SequentialCurriculum": lambda: syllabus.SequentialCurriculum(
        [syllabus.DomainRandomization(_discrete()), syllabus.Constant(5, _discrete())], ["episodes>=20"], _discrete()
    ),
}
"""Those that draw ids and learn from episodes alone."""


def _episodes(tasks: np.ndarray) -> EpisodeBatch:
    count = len(tasks)
    return EpisodeBatch(
        tasks=tasks,
        episode_returns=np.arange(count, dtype=np.float64),
        lengths=np.full(count, 7),
        progress=(tasks % 3 == 0).astype(np.float64),
        env_ids=np.arange(count) % 2,
    )


def _run(curriculum: SyllabusCurriculum, disturb: Callable[[], object] = lambda: None) -> list[int]:
    drawn: list[int] = []
    for _ in range(12):
        disturb()
        tasks = curriculum.sample(5)
        drawn += tasks.tolist()
        curriculum.update_on_episodes(_episodes(tasks))
    return drawn


@pytest.mark.parametrize("name", MAKERS)
def test_the_same_seed_gives_the_same_tasks_whatever_others_draw_from_the_global_generators(name: str) -> None:
    task_space = DiscreteTaskSpace(N)
    quiet = _run(SyllabusCurriculum(task_space, make=MAKERS[name], seed=4))
    disturbed = _run(
        SyllabusCurriculum(task_space, make=MAKERS[name], seed=4),
        lambda: (np.random.random(3), random.random()),  # noqa: NPY002
    )
    assert disturbed == quiet
    assert set(quiet) <= set(range(N))


def test_the_seed_matters() -> None:
    drawn = {
        tuple(_run(SyllabusCurriculum(DiscreteTaskSpace(N), make=MAKERS["DomainRandomization"], seed=seed)))
        for seed in range(3)
    }
    assert len(drawn) == 3


@pytest.mark.parametrize("name", MAKERS)
def test_the_global_generators_are_left_as_they_were(name: str) -> None:
    import torch

    curriculum = SyllabusCurriculum(DiscreteTaskSpace(N), make=MAKERS[name], seed=4)
    np.random.seed(1)  # noqa: NPY002
    random.seed(1)
    torch.manual_seed(1)
    expected = (np.random.random(), random.random(), torch.rand(1).item())  # noqa: NPY002
    np.random.seed(1)  # noqa: NPY002
    random.seed(1)
    torch.manual_seed(1)
    _run(curriculum)
    assert (np.random.random(), random.random(), torch.rand(1).item()) == expected  # noqa: NPY002


def test_it_draws_what_the_object_draws_by_itself() -> None:
    curriculum = SyllabusCurriculum(DiscreteTaskSpace(N), make=MAKERS["CentralPrioritizedLevelReplay"], seed=9)
    state = curriculum._generators._numpy
    hosted = MAKERS["CentralPrioritizedLevelReplay"]()
    drawn = _run(curriculum)
    np.random.set_state(state)  # noqa: NPY002
    alone: list[int] = []
    for _ in range(12):
        tasks = np.array(hosted.sample(k=5))
        alone += tasks.tolist()
        batch = _episodes(tasks)
        for row in range(5):
            hosted.update_on_episode(batch.episode_returns[row], 7, tasks[row], batch.progress[row], env_id=row % 2)
    assert drawn == alone


@pytest.mark.parametrize("name", ["DomainRandomization", "OnlineLearningProgress"])
def test_asking_for_the_distribution_changes_no_later_draw(name: str) -> None:
    asked, alone = (SyllabusCurriculum(DiscreteTaskSpace(N), make=MAKERS[name], seed=4) for _ in range(2))
    drawn = _run(asked, asked.distribution)
    assert drawn == _run(alone)
    assert asked.distribution().sum() == pytest.approx(1.0)


def test_learning_progress_evaluates_inside_its_draws_as_in_syllabus() -> None:
    curriculum = SyllabusCurriculum(
        DiscreteTaskSpace(N),
        make=lambda: syllabus.LearningProgress(Evaluator(), _discrete(), eval_interval=5),
        seed=1,
    )
    assert set(_run(curriculum)) <= set(range(N))
    assert np.ptp(curriculum.distribution()) > 0.0


def test_fewer_tasks_than_were_asked_for_are_completed_by_another_call() -> None:
    warming_up = SyllabusCurriculum(
        DiscreteTaskSpace(N), make=lambda: syllabus.DomainRandomization(_discrete(), random_start_tasks=100), seed=1
    )
    assert len(warming_up.sample(9)) == 9


def test_boxes_and_tuples_travel_both_ways() -> None:
    box = host_syllabus(
        syllabus.DomainRandomization(spaces.BoxTaskSpace(gym.spaces.Box(-1.0, 1.0, (2,), np.float32))), seed=1
    )
    assert isinstance(box.task_space, BoxTaskSpace)
    assert box.task_space.contains_encoded(box.sample(4)).all()
    grid = host_syllabus(syllabus.Constant((1, 2), spaces.MultiDiscreteTaskSpace([2, 3])), seed=1)
    assert isinstance(grid.task_space, MultiDiscreteTaskSpace)
    tasks = grid.sample(4)
    assert grid.task_space.decode_many(tasks)[0] == (1, 2)
    ones = np.ones(4)
    grid.update_on_episodes(EpisodeBatch(tasks, ones, np.ones(4, np.int64), ones, np.arange(4)))


@pytest.mark.parametrize(
    ("space", "tasks"),
    [
        (lambda: spaces.DiscreteTaskSpace(3, ["a", "b", "c"]), ["a", "b", "c"]),
        (lambda: spaces.DiscreteTaskSpace(3, [5, 6, 7]), [5, 6, 7]),
        (lambda: spaces.StratifiedDiscreteTaskSpace([[0, 1], [2]], [["a", "b"], ["c"]]), ["a", "b", "c"]),
        (lambda: spaces.MultiDiscreteTaskSpace([2, 2], flatten=True), [(0, 0), (0, 1), (1, 0), (1, 1)]),
    ],
)
def test_task_spaces_have_syllabus_s_tasks_in_its_order(space: Callable[[], Any], tasks: list[Any]) -> None:
    theirs = space()
    ours = task_space_of(theirs)
    encoded = np.arange(ours.num_tasks or 0)
    assert ours.decode_many(ours.from_index(encoded)) == tasks
    assert [int(theirs.encode(task)) for task in tasks] == encoded.tolist()


def test_a_space_that_does_not_travel_is_refused_by_name() -> None:
    with pytest.raises(TypeError, match="TupleTaskSpace"):
        task_space_of(spaces.TupleTaskSpace((_discrete(2), _discrete(2))))


def test_the_learner_s_rollouts_reach_central_level_replay() -> None:
    curriculum = SyllabusCurriculum(DiscreteTaskSpace(N), make=MAKERS["CentralPrioritizedLevelReplay"], seed=4)
    tasks = curriculum.sample(2)
    for step in range(8):
        curriculum.custom_update(
            tasks=tasks,
            dones=np.array([step % 4 == 3] * 2, dtype=np.float32),
            value=np.array([[0.1], [0.9]], dtype=np.float32),
            rew=np.array([1.0, 0.0], dtype=np.float32),
            next_value=np.array([[0.0], [0.5]], dtype=np.float32),
        )
    scores = curriculum._hosted._task_sampler.task_scores
    assert (scores[tasks] != 0).all()


def test_a_curriculum_without_an_update_says_what_it_was_given() -> None:
    curriculum = host_syllabus(MAKERS["DomainRandomization"]())
    with pytest.raises(ValueError, match=r"takes no custom update, got \['scores'\]"):
        curriculum.custom_update(scores=np.ones(3))


def test_what_is_no_curriculum_is_refused() -> None:
    with pytest.raises(TypeError, match="without task_space"):
        SyllabusCurriculum(DiscreteTaskSpace(3), make=object)
    with pytest.raises(ValueError, match="12 tasks, got 3"):
        SyllabusCurriculum(DiscreteTaskSpace(3), make=MAKERS["DomainRandomization"])


def test_steps_come_one_environment_at_a_time_with_their_observations() -> None:
    class Recorder(syllabus.DomainRandomization):  # type: ignore[misc, name-defined]
        requires_step_updates = True

        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            self.calls: list[Any] = []

        def update_on_step_batch(self, step_results: Any, env_id: int | None = None) -> None:
            self.calls.append((env_id, step_results))

    recorder = Recorder(_discrete())
    curriculum = host_syllabus(recorder)
    images = np.arange(12).reshape(3, 2, 2)
    curriculum.update_on_step_batch(
        StepBatch(
            tasks=np.array([1, 1, 2]),
            rewards=np.array([0.5, 1.0, 2.0]),
            terminated=np.array([False, True, False]),
            truncated=np.zeros(3, bool),
            env_ids=np.array([7, 7, 9]),
            arrays={"observation.camera.left": images, "observation.speed": np.arange(3.0)},
        )
    )
    assert curriculum.requires_step_updates
    assert [env_id for env_id, _ in recorder.calls] == [7, 9]
    tasks, observations, rewards, terminated, *_ = recorder.calls[0][1]
    assert tasks == [1, 1]
    assert rewards.tolist() == [0.5, 1.0]
    assert terminated.tolist() == [False, True]
    assert observations[1]["speed"] == 1.0
    np.testing.assert_array_equal(observations[1]["camera"]["left"], images[1])


def test_an_object_is_served_embedded() -> None:
    curriculum, task_queue, _ = make_multiprocessing_curriculum(
        host_syllabus(MAKERS["OnlineLearningProgress"](), seed=1)
    )
    with curriculum:
        env = GymnasiumSyncWrapper(ledger := LedgerEnv(), task_queue)
        _play(env, 30)
        env.close()
        statistics = curriculum.statistics()
        counts = Counter(run.task for run in ledger.ledger)
        assert statistics.total.num_episodes.tolist() == [30]
        per_task = zip(statistics.tasks.tasks.tolist(), statistics.tasks.num_episodes.tolist(), strict=True)
        assert {task: count for task, count in per_task if count} == counts
        assert curriculum.distribution().sum() == pytest.approx(1.0)


def _play(env: gym.Env[Any, Any], episodes: int) -> None:
    env.reset()
    for episode in range(episodes):
        over = False
        while not over:
            _, _, terminated, truncated, _ = env.step(0)
            over = terminated or truncated
        if episode < episodes - 1:
            env.reset()


ALLOWED = "tests.syllabus.hosted:"


@pytest.fixture
def hosting(start_service: Callable[..., ServiceProcess], monkeypatch: pytest.MonkeyPatch) -> ServiceProcess:
    """A service beside which the tests' curricula are installed."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[2]))
    names = ("HostedSyncTest", "HostedOnlineLearningProgress")
    return start_service(*(part for name in names for part in ("--allow-curriculum", ALLOWED + name)))


def test_syllabus_s_own_check_of_its_synchronisation_passes_on_the_service(hosting: ServiceProcess) -> None:
    episodes = 40
    curriculum = CurriculumClient(hosting.target, curriculum="sync")
    curriculum.create(ALLOWED + "HostedSyncTest", DiscreteTaskSpace(episodes), {"num_envs": 1})
    env = GymnasiumSyncWrapper(ledger := LedgerEnv(), hosting.target, curriculum="sync")
    _play(env, episodes)
    env.close()
    stats = curriculum.custom_update(report=True)
    assert curriculum.summary().last_curriculum_error == ""
    assert stats["episodes"] == episodes
    assert stats["returns"] == sum(run.episode_return for run in ledger.ledger)
    counts = Counter(run.task for run in ledger.ledger)
    assert stats["counts"].tolist() == [counts[task] for task in range(episodes)]
    curriculum.close()


def test_a_restarted_service_draws_on_as_if_nothing_had_happened(hosting: ServiceProcess) -> None:
    tasks = {}
    for name, kill in (("alone", False), ("killed", True)):
        curriculum = CurriculumClient(hosting.target, curriculum=name)
        curriculum.create(ALLOWED + "HostedOnlineLearningProgress", DiscreteTaskSpace(N), seed=3)
        # Drawn at the reset: it learns, so a task that is held ready would depend on when it was drawn.
        settings = SessionSettings(prefetch=0)
        env = GymnasiumSyncWrapper(ledger := LedgerEnv(), hosting.target, curriculum=name, settings=settings)
        _play(env, 40)
        if kill:
            hosting.restart()
        _play(env, 40)
        env.close()
        assert curriculum.statistics().total.num_episodes.tolist() == [80]
        tasks[name] = [run.task for run in ledger.ledger]
        curriculum.close()
    assert tasks["killed"] == tasks["alone"]
