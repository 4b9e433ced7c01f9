"""Expected numbers from public reference implementations: each case of ``tests/golden``, to its tolerance.

``SYLLABUS_GOLDEN_DIR`` names one more folder of such files. The format, and the call behind each event, are those of
the files' own documentation; ``debug`` entries are for people.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from syllabus_client.task_spaces import DiscreteTaskSpace
from syllabus_service.curricula import Curriculum, create

_LATER = {"adr", "alp_gmm", "bidirectional_learning_progress", "ml_agents"}
"""Families that the published set holds and that no curriculum here implements yet."""


def _cases() -> list[Any]:
    folders = [Path(__file__).parent.parent / "golden"]
    if "SYLLABUS_GOLDEN_DIR" in os.environ:
        folders.append(Path(os.environ["SYLLABUS_GOLDEN_DIR"]))
    found = []
    for number, folder in enumerate(folders):
        for path in sorted(folder.glob("*.json")):
            content = json.loads(path.read_text())
            if content["family"] in _LATER:
                continue
            prefix = "" if number == 0 else "given-"
            found += [pytest.param(case, id=f"{prefix}{content['family']}-{case['case']}") for case in content["cases"]]
    return found


def apply(curriculum: Curriculum, event: dict[str, Any], params: dict[str, Any]) -> None:
    """Make the call that an event stands for."""
    kind = event["event"]
    if kind == "sample":
        assert len(curriculum.sample(1)) == 1
    elif kind == "sampled":
        curriculum.on_sampled(np.array([event["task"]]))
    elif kind == "score":
        columns = {"scores": "score", "max_scores": "max_score", "num_steps": "num_steps"}
        given = {name: [event[key]] for name, key in columns.items() if key in event}
        curriculum.custom_update(tasks=[event["task"]], **given)
    elif kind == "rollout":
        curriculum.custom_update(**{name: np.array(value) for name, value in event.items() if name != "event"})
    elif kind == "evaluation":
        curriculum.custom_update(success_rates=event["success_rates"])
    elif kind == "progress":
        curriculum.update_on_episode(event["progress"], 1, event["task"], event["progress"])
    elif kind == "episode":
        curriculum.update_on_episode(event["return"], event.get("length", 1), event.get("task", 0), 0.0)
    elif kind == "update":
        if "update_interval" not in params:
            curriculum.custom_update(refresh=True)
    elif kind == "add_agent":
        curriculum.add_agent(f"agent {event['agent']}".encode())
    elif kind == "result":
        curriculum.custom_update(opponents=[event["agent"]], rewards=[event["reward"]])
    else:
        raise ValueError(f"unknown event {kind!r}")


def read(curriculum: Curriculum, name: str, what: str) -> np.ndarray:
    """What a check compares."""
    if what == "distribution":
        replay = {"replay": True} if name == "prioritized_level_replay" else {}
        return curriculum.distribution(**replay)
    if what == "scores":
        return curriculum.scores()
    return np.asarray(getattr(curriculum, what))


@pytest.mark.parametrize("case", _cases())
def test_the_expected_numbers_come_out(case):
    space = DiscreteTaskSpace(case["num_tasks"])
    curriculum = create(case["curriculum"], space, case["params"], seed=0)
    applied = compared = 0
    for check in case["checks"]:
        for event in case["events"][applied : check["after"]]:
            apply(curriculum, event, case["params"])
        applied = check["after"]
        for what in check.keys() - {"after", "debug"}:
            expected = np.array(check[what], dtype=np.float64)  # null becomes NaN
            actual = read(curriculum, case["curriculum"], what)
            message = f"{what} after {applied} events"
            np.testing.assert_allclose(actual, expected, rtol=0, atol=case["tolerance"], err_msg=message)
            compared += 1
    assert compared >= len(case["checks"])
