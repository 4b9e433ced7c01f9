"""Conformance cases of level replay, self-play, and the curricula that are made of others."""

from __future__ import annotations

import numpy as np

from syllabus_client.task_spaces import DiscreteTaskSpace, MultiDiscreteTaskSpace, TupleTaskSpace

from .case import Call, Case

SIX = DiscreteTaskSpace(6)
VECTORS = MultiDiscreteTaskSpace([["a", "b"], 3], "tuple")
SEEDS = DiscreteTaskSpace(2**63 - 1)
PAIRS = TupleTaskSpace([["maze", "field"], 4])
AGENTS = ("ada", "ben")


# Level replay


def scores(curriculum, rng):
    """Ready-made scores, some of them of one task; zeros and equal ones are frequent."""
    n = int(rng.integers(0, 6))
    given = np.round(rng.random(n), 1)
    return Call("custom_update", kwargs={"tasks": curriculum.task_space.sample(n, rng), "scores": given})


def signed_scores(curriculum, rng):
    n = int(rng.integers(0, 6))
    given = {"scores": rng.normal(size=n), "max_scores": rng.normal(size=n) + 2, "num_steps": np.full(n, 9)}
    return Call("custom_update", kwargs={"tasks": curriculum.task_space.sample(n, rng), **given})


def rollout(curriculum, rng):
    """A rollout of three environments, with episodes that began before it and go on behind it."""
    steps, actors = int(rng.integers(1, 7)), 3
    dones = rng.random((steps, actors)) < 0.3
    starts = np.vstack([np.ones(actors, dtype=bool), dones[:-1]])
    drawn = curriculum.task_space.sample(steps * actors, rng).reshape(
        steps, actors, *curriculum.task_space.encoded_shape
    )
    if rng.random() < 0.7:  # all environments go on with the task that they have
        drawn[...] = curriculum.task_space.from_index(np.array([2]))[0]
    tasks = drawn.copy()
    for t in range(1, steps):
        tasks[t][~starts[t]] = tasks[t - 1][~starts[t]]
    arrays = {"rewards": rng.normal(size=dones.shape), "values": rng.normal(size=dones.shape), "dones": dones}
    return Call(
        "custom_update",
        kwargs={
            "tasks": tasks,
            **arrays,
            "next_value": rng.normal(size=actors),
            "logits": rng.normal(size=(*dones.shape, 4)),
            "env_ids": np.array([4, 9, 2]),
        },
    )


def buffered_scores(curriculum, rng):
    """Scores of tasks that were drawn: new ones, buffered ones and some that are no more."""
    expected = curriculum.state_dict()["fields"]["replay_state"]["buffer"]["expected"]
    known = np.concatenate([expected, curriculum.buffered_tasks(), [7]])
    tasks = known[rng.integers(0, len(known), size=int(rng.integers(0, 5)))]
    return Call("custom_update", kwargs={"tasks": tasks, "scores": np.round(rng.random(len(tasks)), 1)})


def score_metrics(n, rng):
    given = np.round(rng.random(n), 2)
    given[rng.random(n) < 0.3] = np.nan
    highest = given + 1
    highest[rng.random(n) < 0.5] = np.nan
    return {"score": given, "max_score": highest}


def plr(id, *commands, space=SIX, algorithm="prioritized_level_replay", setup=(), **params):
    return Case(id, algorithm, space, params, commands=commands, setup=setup)


def all_seen(count=6, **kwargs):
    return (Call("custom_update", kwargs={"tasks": np.arange(count), "scores": np.linspace(0.1, 1.0, count)}),)


LEVEL_REPLAY = [
    plr("plr", scores, setup=all_seen()),
    plr("plr-some-unseen", scores, rho=0.2, alpha=0.5, staleness_transform="max", staleness_coef=0.5),
    plr("plr-fixed", scores, rho=0.1, replay_schedule="fixed", replay_prob=0.7, score_transform="constant"),
    plr("plr-nu", signed_scores, rho=0.1, replay_schedule="fixed", nu=0.2, temperature=0.5, max_score_coef=0.5),
    plr("plr-vectors", scores, space=VECTORS, rho=0.3, temperature=1.0, staleness_transform="rank"),
    plr("plr-power", signed_scores, rho=0.2, score_transform="power", staleness_coef=0.0),
    plr("plr-proportional", scores, rho=0.2, score_transform="proportional", staleness_transform="softmax"),
    plr("plr-softmax", signed_scores, rho=0.2, score_transform="softmax", staleness_coef=0.6, temperature=0.1),
    plr("plr-match", scores, rho=0.2, score_transform="match", staleness_temperature=0.2, staleness_coef=0.8),
    plr("plr-match-rank", scores, rho=0.2, score_transform="match_rank", staleness_temperature=3.0),
    plr("plr-max", scores, rho=0.2, score_transform="max", staleness_transform="eps_greedy", staleness_coef=0.5),
    plr("plr-eps-greedy", signed_scores, rho=0.2, score_transform="eps_greedy", staleness_transform="constant"),
    plr("plr-only-stale-ranks", scores, setup=all_seen(), staleness_coef=1.0, staleness_transform="match_rank"),
    plr("plr-rollouts", rollout, rho=0.2, temperature=0.5),
    plr("plr-grounded", rollout, rho=0.2, strategy="grounded_positive_value_loss", max_score_coef=0.2),
    plr("plr-policy", rollout, rho=0.2, strategy="policy_entropy", alpha=0.3, max_unfinished_episodes=2),
    plr("plr-old", signed_scores, rho=0.2, score_transform="eps_greedy", max_age=7, staleness_transform="rank"),
    plr("plr-old-ranks", signed_scores, rho=0.2, max_age=5, staleness_transform="softmax", temperature=1.0),
    plr("plr-random", strategy="random"),
    plr("plr-sequential", strategy="sequential"),
    plr("robust", rollout, algorithm="robust_prioritized_level_replay", rho=0.2, replay_schedule="fixed"),
    Case(
        "plr-worker-scores",
        "prioritized_level_replay",
        SIX,
        {"rho": 0.2, "temperature": 1.0, "max_score_coef": 0.5},
        episode_metrics=score_metrics,
    ),
    Case(
        "plr-buffer",
        "prioritized_level_replay",
        SEEDS,
        {"buffer_size": 5, "rho": 0.4, "temperature": 1.0},
        commands=(buffered_scores,),
        has_distribution=False,
        warms_up=False,
    ),
    Case(
        "robust-buffer",
        "robust_prioritized_level_replay",
        SEEDS,
        {"buffer_size": 3, "rho": 1.0, "score_transform": "power", "alpha": 0.5},
        commands=(buffered_scores,),
        has_distribution=False,
        warms_up=False,
    ),
]


# Opponents


def add_agent(curriculum, rng):
    return Call("add_agent", (rng.bytes(int(rng.integers(0, 9))),))


def results(curriculum, rng):
    n = int(rng.integers(0, 6))
    rewards = rng.choice([-1.0, 0.0, 1.0, 0.5], size=n)
    return Call("custom_update", kwargs={"opponents": added(curriculum, n, rng), "rewards": rewards})


def added(curriculum, n, rng):
    """Ids of agents that were added, some perhaps kept no more."""
    count = min(curriculum.num_added, curriculum.num_tasks)
    return rng.integers(0, count, size=n)


FULL = tuple(Call("add_agent", (bytes([i]),)) for i in range(6))


def opponents(id, algorithm, setup=FULL, space=SIX, warms_up=True, **params):
    return Case(
        id,
        algorithm,
        space,
        params,
        commands=(add_agent, results),
        setup=setup,
        tasks=added,
        warms_up=warms_up,
    )


SELF_PLAY = [
    opponents("self-play", "self_play", setup=FULL[:1], space=DiscreteTaskSpace(1)),
    opponents("self-play-new-ids", "self_play", setup=FULL[:2], warms_up=False),
    opponents("fictitious", "fictitious_self_play"),
    opponents("fictitious-window", "fictitious_self_play", setup=FULL[:1], warms_up=False, max_agents=3),
    opponents("prioritized", "prioritized_fictitious_self_play", window=5),
    opponents(
        "prioritized-few",
        "prioritized_fictitious_self_play",
        setup=FULL[:2],
        warms_up=False,
        max_agents=4,
        entropy_parameter=2.5,
        smoothing_constant=0.0,
        window=3,
    ),
]


# Compositions


def pair_scores(curriculum, rng):
    n = int(rng.integers(0, 5))
    tasks = PAIRS.sample(n, rng)
    return Call("custom_update", kwargs={"to": "env", "tasks": tasks, "scores": rng.random(n)})


def pair_results(curriculum, rng):
    n = int(rng.integers(0, 5))
    given = {"opponents": rng.integers(0, 4, size=n), "rewards": np.round(rng.random(n))}
    return Call("custom_update", kwargs={"to": "agent", **given})


def agent_scores(curriculum, rng):
    n = int(rng.integers(0, 5))
    tasks = curriculum.task_space.sample(n, rng)
    agent = AGENTS[int(rng.integers(2))]
    return Call("custom_update", kwargs={"agent": agent, "tasks": tasks, "scores": rng.random(n)})


PLR = {"algorithm": "prioritized_level_replay", "params": {"rho": 0.5, "temperature": 1.0}}
FOUR_AGENTS = FULL[:4]

COMPOSED = [
    Case(
        "dual",
        "dual",
        PAIRS,
        {"env_curriculum": PLR, "agent_curriculum": {"algorithm": "prioritized_fictitious_self_play"}},
        commands=(pair_scores, pair_results, add_agent),
        setup=FOUR_AGENTS,
    ),
    Case(
        "dual-vectors",
        "dual",
        MultiDiscreteTaskSpace([2, 4], "tuple"),
        {
            "env_curriculum": {"algorithm": "domain_randomization"},
            "agent_curriculum": {"algorithm": "fictitious_self_play"},
        },
        commands=(pair_results, add_agent),
        setup=FOUR_AGENTS,
    ),
    Case("shared", "multi_agent_shared", SIX, {"curriculum": PLR, "possible_agents": AGENTS}, commands=(scores,)),
    Case(
        "independent",
        "multi_agent_independent",
        MultiDiscreteTaskSpace([2, 4]),
        {"curricula": PLR, "possible_agents": AGENTS},
        commands=(agent_scores,),
    ),
    Case(
        "independent-mixed",
        "multi_agent_independent",
        PAIRS,
        {
            "curricula": [{"algorithm": "online_learning_progress"}, {"algorithm": "domain_randomization"}],
            "possible_agents": AGENTS,
        },
    ),
]

CASES = [*LEVEL_REPLAY, *SELF_PLAY, *COMPOSED]
