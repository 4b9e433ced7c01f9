"""Conformance cases of the curricula that learn nothing: fixed, uniform, listed, staged, growing, annealed."""

from __future__ import annotations

from syllabus_client.task_spaces import BoxTaskSpace, DiscreteTaskSpace, MultiDiscreteTaskSpace, TupleTaskSpace

from .case import Call, Case

SIX = DiscreteTaskSpace(6)
BOX = BoxTaskSpace([-1.0, 0.0], [1.0, 4.0])
VECTORS = MultiDiscreteTaskSpace([["a", "b"], 3], "tuple")
MIXED = TupleTaskSpace([["x", "y"], BOX])


def learner_update(curriculum, rng):
    return Call("custom_update", kwargs={"update": bool(rng.random() < 0.7)})


CASES = [
    Case("constant", "constant", SIX, {"default_task": 4}),
    Case("constant-vectors", "constant", VECTORS, {"default_task": ["b", 1]}),
    Case("constant-box", "constant", BOX, {"default_task": [0.5, 1.0]}, has_distribution=False),
    Case("domain_randomization", "domain_randomization", SIX),
    Case("domain_randomization-vectors", "domain_randomization", VECTORS),
    Case("domain_randomization-box", "domain_randomization", BOX, has_distribution=False),
    Case("domain_randomization-mixed", "domain_randomization", MIXED, has_distribution=False),
    Case("batched", "batched_domain_randomization", SIX, {"batch_size": 40}),
    Case("batched-warmup", "batched_domain_randomization", VECTORS, {"batch_size": 40, "warmup_batches": 2}),
    Case("batched-box", "batched_domain_randomization", BOX, {"batch_size": 40}, has_distribution=False),
    Case("synced", "synced_batched_domain_randomization", SIX, commands=(learner_update,)),
    Case(
        "synced-mixture",
        "synced_batched_domain_randomization",
        VECTORS,
        {"uniform_chance": 0.3, "warmup_batches": 1},
        commands=(learner_update,),
    ),
    Case(
        "synced-box",
        "synced_batched_domain_randomization",
        BOX,
        {"uniform_chance": 0.3},
        commands=(learner_update,),
        has_distribution=False,
    ),
]
