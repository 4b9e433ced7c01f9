"""Whether an environment's ``reset`` takes a task."""

from __future__ import annotations

import inspect
from typing import Any


class NoTaskInResetError(TypeError):
    """An environment's ``reset`` takes no ``new_task``."""


def require_new_task(env: Any, wrapper: str, task_wrapper: str = "TaskWrapper") -> None:
    """Raise NoTaskInResetError, saying what to do, where ``reset`` takes no ``new_task``.

    A reset that takes any keyword is followed to the environment underneath.

    Args:
        env: an environment, wrapped or not (gymnasium's or PettingZoo's: wrappers hold theirs in ``env``).
        wrapper: the name of the wrapper that asks.
        task_wrapper: the name of the wrapper that gives such an environment a ``new_task``.
    """
    layer = env
    while True:
        try:
            parameters = inspect.signature(layer.reset).parameters
        except (TypeError, ValueError):  # a callable without a signature, such as one in C: only the call can tell
            return
        if "new_task" in parameters:
            return
        takes_keywords = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters.values())
        inner = vars(layer).get("env") if hasattr(layer, "__dict__") else None
        if not takes_keywords:
            break
        if inner is None:
            return
        layer = inner
    raise NoTaskInResetError(
        f"{wrapper} passes each episode's task to the environment by reset(new_task=...), which "
        f"{type(layer).__name__}.reset does not take (in {env}). {_advice(layer, task_wrapper)}"
    )


def _advice(layer: Any, task_wrapper: str) -> str:
    inner = vars(layer).get("env")
    while inner is not None:
        if hasattr(inner, "change_task"):
            return (
                f"{type(inner).__name__} underneath has change_task: put a {task_wrapper} around the environment, "
                f"which hands the task on."
            )
        inner = vars(inner).get("env")
    return (
        f"Give its reset a keyword new_task (as TaskEnv does), or put a {task_wrapper} around the environment whose "
        f"change_task applies the task."
    )
