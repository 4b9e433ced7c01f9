"""A curriculum in a Ray actor."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from syllabus_client.client import CurriculumClient
from syllabus_client.errors import AuthenticationError
from syllabus_client.ray import RaySyncWrapper, make_ray_curriculum
from syllabus_client.task_spaces import DiscreteTaskSpace, TaskSpace
from syllabus_client.wrappers import VectorSyncWrapper
from syllabus_service.curricula import Curriculum, create
from tests.embedded.synchronisation import check_that_synchronisation_is_exact
from tests.embedded.ways import Served, Way
from tests.embedded.workers import KINDS, Wrap, run_episodes
from tests.wrappers.environments import LedgerEnv, Run, VectorLedgerEnv

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster"), pytest.mark.timeout(300)]


@contextmanager
def serve_ray(directory: Path, algorithm: str, space: TaskSpace, params: dict[str, Any]) -> Iterator[Served]:
    """``make_ray_curriculum``."""
    with closing(make_ray_curriculum(create(algorithm, space, params, seed=1))) as client:
        yield client, RaySyncWrapper


def run_ray(wrap: Wrap, workers: int, episodes: int) -> list[Run]:
    """Ray tasks, each in a process of its own."""
    import ray

    @ray.remote(num_cpus=0)
    class Worker:
        def run(self, kind: str) -> list[Run]:
            return run_episodes(wrap, kind, episodes)

    actors = [Worker.remote() for _ in range(workers)]
    ran = ray.get([actor.run.remote(KINDS[number % len(KINDS)]) for number, actor in enumerate(actors)])
    for actor in actors:
        ray.kill(actor)
    return [run for each in ran for run in each]


def test_every_task_is_run_as_often_as_asked_and_the_service_counts_what_environments_saw(tmp_path: Path) -> None:
    check_that_synchronisation_is_exact(Way(serve_ray, run_ray), tmp_path)


def test_a_curriculum_of_the_users_own_learns_in_the_actor() -> None:
    class Successor(Curriculum):  # of this function, so it travels by value
        def _draw(self, k: int) -> Any:
            return [self.num_episodes] * k

    with closing(make_ray_curriculum(Successor(DiscreteTaskSpace(100), seed=1), name="mine")) as client:
        run_episodes(partial(RaySyncWrapper, name="mine"), "terminated", 10)
        assert client.summary().num_episodes == 10
        assert client.sample() == [10]


def test_other_wrappers_find_it_by_its_handle() -> None:
    from gymnasium.vector import AutoresetMode

    uniform = create("domain_randomization", DiscreteTaskSpace(10), seed=1)
    with closing(make_ray_curriculum(uniform, name="columns")) as client:
        inner = VectorLedgerEnv(16, AutoresetMode.NEXT_STEP)
        env = VectorSyncWrapper(inner, pickle.loads(pickle.dumps(client.handle)))
        env.reset()
        for _ in range(10):
            env.step(env.action_space.sample() * 0)
        env.close()
        assert client.summary().num_episodes == len(inner.ledger) > 0


def test_a_name_that_is_taken_is_refused_and_the_first_goes_on() -> None:
    uniform = create("domain_randomization", DiscreteTaskSpace(4), seed=1)
    with closing(make_ray_curriculum(uniform, name="taken")) as first:
        with pytest.raises(ValueError, match="taken"):
            make_ray_curriculum(uniform, name="taken")
        assert first.distribution().tolist() == [0.25] * 4


def test_a_service_that_cannot_start_raises_in_the_learner() -> None:
    from ray.exceptions import RayActorError

    uniform = create("domain_randomization", DiscreteTaskSpace(4), seed=1)
    with pytest.raises(RayActorError, match="128 characters"):
        make_ray_curriculum(uniform, name="no name for a curriculum")


def test_only_who_can_ask_ray_may_call_the_service() -> None:
    uniform = create("domain_randomization", DiscreteTaskSpace(4), seed=1)
    with closing(make_ray_curriculum(uniform, name="guarded")) as client:
        target, name, token = client.handle.resolve()
        assert token
        for other in (None, "syl_" + "x" * 40):
            stranger = CurriculumClient(target, curriculum=name, token=other)
            with closing(stranger), pytest.raises(AuthenticationError):
                stranger.distribution()
        with closing(CurriculumClient(target, curriculum=name, token=token)) as known:
            assert known.distribution().tolist() == [0.25] * 4


def test_a_copy_of_the_handle_is_a_client_and_closing_it_ends_nothing() -> None:
    uniform = create("domain_randomization", DiscreteTaskSpace(4), seed=1)
    with closing(make_ray_curriculum(uniform, name="copied")) as client:
        with closing(pickle.loads(pickle.dumps(client))) as copy:
            assert copy.distribution().tolist() == [0.25] * 4
        with closing(RaySyncWrapper(LedgerEnv(), name="copied")) as env:
            env.reset()
