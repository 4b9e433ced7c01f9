"""Every curriculum over the wire does what it does in process, draw for draw and bit for bit."""

from __future__ import annotations

import json
from typing import Any

import grpc
import numpy as np
import pytest

from syllabus_client import CurriculumClient
from syllabus_client.task_spaces import DiscreteTaskSpace
from syllabus_service.curricula import Curriculum, EpisodeBatch, names
from tests.curricula.case import Call, Case
from tests.curricula.cases import CURRICULA
from tests.curricula.streams import bits, random_calls
from tests.service.serving import bad_field, serving, status

SEED = 11
CALLS = 25


class Twin:
    """The same curriculum twice: in this process, and on a service."""

    def __init__(self, case: Case, curriculum: Curriculum, client: CurriculumClient) -> None:
        self.case = case
        self.curriculum = curriculum
        self.client = client

    def make(self, call: Call) -> bool:
        """Make a call on both and compare the answers; False for one that does not come from a client by itself."""
        how = getattr(self, f"_{call.method}", None)
        if how is None:
            return False
        how(*call.args, **call.kwargs)
        return True

    def _draw(self, k: int) -> None:
        if not k:
            return
        drawn = self.curriculum.draw(k)
        got = self.client.next_tasks(k)
        space = self.curriculum.task_space
        encoded = np.array([each.encoded for each in got], space.encoded_dtype).reshape(-1, *space.encoded_shape)
        assert bits(encoded) == bits(np.ascontiguousarray(drawn.tasks))
        if drawn.probabilities is not None:
            assert [each.probability for each in got] == drawn.probabilities.tolist()
        if drawn.purposes is not None:
            assert [each.purpose for each in got] == drawn.purposes.tolist()

    def _update_on_episodes(self, batch: EpisodeBatch) -> None:
        if not len(batch):
            return
        self.curriculum.update_on_episodes(batch)
        rejected = self.client.report_episodes(
            self.curriculum.task_space.decode_many(batch.tasks),
            batch.episode_returns,
            batch.lengths,
            batch.progress,
            batch.env_ids,
            metrics=batch.metrics,
        )
        assert rejected == 0

    def _custom_update(self, **metrics: Any) -> None:
        answer = self.curriculum.custom_update(**metrics)
        assert bits(self.client.custom_update(**metrics)) == bits(dict(answer or {}))

    def _add_agent(self, agent: bytes) -> None:
        agent = agent or b"-"  # the service refuses an agent without a byte
        number = self.curriculum.add_agent(agent)  # type: ignore[attr-defined]
        assert self.client.add_agent(agent) == number
        assert self.client.get_agent(number) == agent


def travels(case: Case) -> bool:
    """Whether the case's parameters can be in a spec."""
    try:
        json.dumps(dict(case.params))
    except TypeError:
        return False
    return True


def test_every_built_in_curriculum_is_tried():
    assert {case.curriculum for case in CURRICULA if travels(case)} == set(names())


def test_a_curriculum_on_a_service_is_the_curriculum_in_process(service, subtests):
    for case in filter(travels, CURRICULA):
        with subtests.test(case.id), CurriculumClient(service.target, curriculum=case.id) as client:
            client.create(case.curriculum, case.task_space, case.params, seed=SEED)
            twin = Twin(case, Case(**{**vars(case), "setup": ()}).new(SEED), client)
            for call in case.setup:
                assert twin.make(call)
            made = sum(twin.make(call) for call in random_calls(case, twin.curriculum, SEED, CALLS))
            assert made > CALLS // 4
            if case.has_distribution:
                assert bits(client.distribution()) == bits(twin.curriculum.distribution())


@pytest.mark.parametrize(
    ("algorithm", "params", "field"),
    [
        ("learning_progress", {}, "spec.task_space"),
        ("online_learning_progress", {}, "spec.task_space"),
        ("prioritized_level_replay", {}, "spec.task_space"),
        ("prioritized_level_replay", {"buffer_size": 2**30}, "spec.params"),
    ],
)
def test_more_tasks_than_memory_should_hold_are_refused_before_anything_is_built(algorithm, params, field):
    with serving() as server:
        with pytest.raises(grpc.RpcError) as refused:
            server.create(algorithm=algorithm, task_space=DiscreteTaskSpace(2**40), **params)
        assert (status(refused.value), bad_field(refused.value)) == ("RESOURCE_EXHAUSTED", field)
        server.create(algorithm="domain_randomization", task_space=DiscreteTaskSpace(2**40))
