"""What breaks in Syllabus 0.7 on Ray and works here."""

from __future__ import annotations

from contextlib import closing

import pytest

from syllabus_client.ray import CurriculumActorNotFoundError, RaySyncWrapper, make_ray_curriculum
from syllabus_client.task_spaces import DiscreteTaskSpace
from syllabus_service.curricula import create
from tests.embedded.workers import run_episodes
from tests.wrappers.environments import LedgerEnv

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]


def test_11_a_ray_curriculum_is_found_by_the_name_that_it_was_given_and_the_learners_handle_reaches_it() -> None:
    import ray

    @ray.remote(num_cpus=0)
    def work(name: str) -> int:
        return len(run_episodes(lambda env: RaySyncWrapper(env, name=name), "terminated", 5))

    uniform = create("domain_randomization", DiscreteTaskSpace(4), seed=1)
    with closing(make_ray_curriculum(uniform, name="mazes")) as client:
        assert ray.get(work.remote("mazes")) == 5
        assert client.summary().num_episodes == 5
        assert client.distribution().tolist() == [0.25] * 4
        with pytest.raises(AttributeError, match="no_such_method"):
            client.no_such_method()  # type: ignore[attr-defined]
        with (
            closing(RaySyncWrapper(LedgerEnv())) as env,
            pytest.raises(CurriculumActorNotFoundError, match="'curriculum'"),
        ):
            env.reset()
    with pytest.raises(ValueError, match="mazes"):
        ray.get_actor("mazes", namespace="syllabus")
