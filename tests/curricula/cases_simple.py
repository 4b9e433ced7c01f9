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


def add_tasks(curriculum, rng):
    return Call("custom_update", kwargs={"tasks": curriculum.task_space.sample(int(rng.integers(0, 9)), rng)})


def add_tasks_to_stage_0(curriculum, rng):
    return Call("custom_update", kwargs={"tasks": rng.choice([1, 5, 4], size=3), "stage": 0})


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
    Case("manual", "manual", SIX, {"tasks": [3, 3, 1]}, commands=(add_tasks,), has_distribution=False, short=True),
    Case("manual-mixed", "manual", MIXED, commands=(add_tasks,), has_distribution=False, short=True),
    Case(
        "sequential",
        "sequential",
        SIX,
        {
            "stages": [[0, 1], {"algorithm": "constant", "params": {"default_task": 4}}, [5, 2, 3]],
            "stopping_conditions": ["episodes >= 4 & episode_return > -0.2", "steps >= 60 | tasks >= 9", "tasks > 6"],
            "should_loop": True,
            "return_buffer_size": 5,
        },
    ),
    Case(
        "sequential-of-sequential",
        "sequential",
        DiscreteTaskSpace(["a", "b", "c", "d"]),
        {
            "stages": [
                {
                    "algorithm": "sequential",
                    "params": {"stages": [["d"], ["b", "c"]], "stopping_conditions": ["tasks>=7"]},
                    "tasks": ["d", "c", "b"],
                },
                {"algorithm": "online_learning_progress", "params": {"update_interval": 5}, "tasks": ["b", "a", "d"]},
                "c",
            ],
            "stopping_conditions": ["total_episodes>=12", "total_tasks>=60"],
        },
    ),
    Case(
        "sequential-manual",
        "sequential",
        SIX,
        {
            "stages": [
                {"algorithm": "manual", "params": {"tasks": [1, 5, 5, 4]}, "tasks": [5, 1, 4]},
                [1, 2, 3],
                {"algorithm": "manual", "params": {"tasks": [0, 1]}},
            ],
            "stopping_conditions": ["tasks>=3", "episodes>=6", "tasks>=2"],
            "should_loop": True,
        },
        commands=(add_tasks_to_stage_0,),
        has_distribution=False,
        short=True,
    ),
    Case(
        "sequential-boxes",
        "sequential",
        BOX,
        {"stages": [[[0.0, 1.0], [0.5, 2.0]], {"algorithm": "expanding_box"}], "stopping_conditions": ["steps>50"]},
        has_distribution=False,
    ),
    Case("expanding_box", "expanding_box", BOX, {"required_successes": 2, "steps": 3}, has_distribution=False),
    Case(
        "expanding_box-points",
        "expanding_box",
        BoxTaskSpace(-10, 10, shape=(3, 2), dtype="int16"),
        {"required_successes": 2, "success_threshold": 0.4},
        has_distribution=False,
    ),
    Case(
        "simulated_annealing",
        "simulated_annealing",
        BOX,
        {"start_values": [0.0, 0.5], "end_values": [1.0, 4.0], "total_steps": [100, 2000]},
        has_distribution=False,
    ),
    Case(
        "simulated_annealing-scalar",
        "simulated_annealing",
        BoxTaskSpace(0, 20, dtype="uint8"),
        {"start_values": 3, "end_values": 18, "total_steps": 400},
        has_distribution=False,
    ),
]
