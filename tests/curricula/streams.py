"""Random streams of valid commands, and the exact comparison of states and draws."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import numpy as np

from syllabus_service.curricula import Curriculum, Draw, EpisodeBatch

from .case import Call, Case


def random_calls(case: Case, curriculum: Curriculum, seed: int, count: int) -> Iterator[Call]:
    """``count`` valid calls, each made for the state that the ones before have left ``curriculum`` in.

    The caller makes each call on ``curriculum`` before asking for the next.
    """
    rng = np.random.default_rng(seed)
    kinds = [_draw, _draw, _episodes, _episodes, _progress, _abandoned, *case.commands, *case.commands]
    for _ in range(count):
        kind = kinds[rng.integers(len(kinds))]
        yield kind(curriculum, rng) if kind in case.commands else kind(case, curriculum, rng)


def run(case: Case, curriculum: Curriculum, seed: int, count: int) -> list[Call]:
    """Make ``count`` random calls on ``curriculum``; return them."""
    calls = []
    for call in random_calls(case, curriculum, seed, count):
        call.on(curriculum)
        calls.append(call)
    return calls


def random_batch(case: Case, curriculum: Curriculum, n: int, rng: np.random.Generator) -> EpisodeBatch:
    """n episodes of tasks that the case allows. Returns, lengths and progress vary, with the extremes often."""
    progress = rng.random(n)
    extreme = rng.random(n) < 0.6
    progress[extreme] = np.round(progress[extreme])
    return EpisodeBatch(
        tasks=case.episode_tasks(curriculum, n, rng),
        episode_returns=np.round(rng.normal(size=n), 3),
        lengths=rng.integers(0, 30, size=n),
        progress=progress,
        env_ids=rng.integers(0, 4, size=n),
        metrics={} if case.episode_metrics is None else case.episode_metrics(n, rng),
    )


def _draw(case: Case, curriculum: Curriculum, rng: np.random.Generator) -> Call:
    return Call("draw", (int(rng.integers(0, 6)),))


def _episodes(case: Case, curriculum: Curriculum, rng: np.random.Generator) -> Call:
    return Call("update_on_episodes", (random_batch(case, curriculum, int(rng.integers(0, 9)), rng),))


def _progress(case: Case, curriculum: Curriculum, rng: np.random.Generator) -> Call:
    task = case.episode_tasks(curriculum, 1, rng)[0]
    progress = float(np.round(rng.random())) if rng.random() < 0.6 else float(rng.random())
    return Call("update_task_progress", (task, progress, int(rng.integers(0, 4))))


def _abandoned(case: Case, curriculum: Curriculum, rng: np.random.Generator) -> Call:
    return Call("on_abandoned", (case.episode_tasks(curriculum, int(rng.integers(0, 4)), rng),))


def bits(value: Any) -> Any:
    """``value`` (a state, a draw, an answer) in a form that is equal only where every bit is."""
    if isinstance(value, Draw):
        value = (value.tasks, value.probabilities, value.purposes)
    if isinstance(value, np.ndarray):
        return (value.dtype.str, value.shape, value.tobytes())
    if isinstance(value, dict):
        return {name: bits(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [bits(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return struct.pack("<d", value) if isinstance(value, float) else (type(value).__name__, value)


def reseeded(state: Any, seed: int) -> Any:
    """A state in which every random generator, at any depth, has been started anew from ``seed``."""
    if isinstance(state, dict):
        if "bit_generator" in state:
            return np.random.PCG64(seed).state
        return {name: reseeded(item, seed) for name, item in state.items()}
    if isinstance(state, (list, tuple)):
        # Curricula in a list draw independently of each other, so their generators must not start alike.
        return type(state)(reseeded(item, seed + 1_000_003 * place) for place, item in enumerate(state))
    return state


def scribble(state: Any) -> None:
    """Overwrite every array of a state, at any depth, and empty its lists and dicts."""
    if isinstance(state, np.ndarray):
        state[...] = 1
    elif isinstance(state, dict):
        for item in state.values():
            scribble(item)
        state.clear()
    elif isinstance(state, list):
        for item in state:
            scribble(item)
        state.clear()


def break_last(state: Any) -> None:
    """Spoil a curriculum's state, or that of the last curriculum within it: it is found out when others are loaded."""
    for field in reversed(state["fields"].values()):
        last = field[-1] if isinstance(field, list) and field else field
        if isinstance(last, dict) and "num_episodes" in last:
            return break_last(last)
    state["num_episodes"] = "broken"
    return None
