"""The grammar of stopping conditions, and what they say of texts that are none."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from syllabus_service.curricula.conditions import METRICS, Comparison, ConditionError, parse


def metrics(**values):
    return {name: np.array([values.get(name, 0.0)]) for name in METRICS}


@pytest.mark.parametrize(
    "text",
    [
        "steps>=1e5&episode_return>0.8|tasks>=500",
        "steps >= 1e5 & episode_return > 0.8 | tasks >= 500",
        "  steps>= 100000.0&episode_return\t>+.8|\n tasks >=5E2 ",
    ],
)
def test_spaces_and_spellings_of_numbers_change_nothing(text):
    assert parse(text).groups == (
        (Comparison("steps", ">=", 100_000.0), Comparison("episode_return", ">", 0.8)),
        (Comparison("tasks", ">=", 500.0),),
    )
    assert parse(text).speaks_of("tasks", "episodes")
    assert not parse(text).speaks_of("episodes", "total_tasks")


@pytest.mark.parametrize(
    ("op", "truth"),
    [
        (">=", (False, True, True)),
        (">", (False, False, True)),
        ("=", (False, True, False)),
        ("<=", (True, True, False)),
        ("<", (True, False, False)),
    ],
)
def test_each_operator_compares_as_it_reads(op, truth):
    condition = parse(f"total_steps {op} -2.5")
    assert condition.holds({"total_steps": np.array([-3.0, -2.5, -2.0])}).tolist() == list(truth)


def test_and_binds_tighter_than_or():
    condition = parse("steps>=40|episodes>=2&tasks>=50")
    assert condition.holds(metrics(steps=40)).item()
    assert not condition.holds(metrics(episodes=2)).item()
    assert condition.holds(metrics(episodes=2, tasks=50)).item()


@pytest.mark.parametrize(
    ("text", "place", "expected"),
    [
        ("", 1, "one of steps"),
        ("step>=10", 1, "one of steps"),
        ("steps>>10", 7, "a number"),
        ("steps=>10", 7, "a number"),
        ("steps==10", 7, "a number"),
        ("steps 10", 7, "one of >="),
        ("steps>=", 8, "a number"),
        ("steps>=ten", 8, "a number"),
        ("steps>=1e999", 8, "a finite number"),
        ("steps>=nan", 8, "a number"),
        ("steps>=10 & ", 13, "one of steps"),
        ("steps>=10 && tasks>2", 12, "one of steps"),
        ("steps>=10 tasks>2", 11, "& or |"),
        ("steps>=10k", 10, "& or |"),
        ("(steps>=10)", 1, "one of steps"),
        ("steps>=10 | reward > 3", 13, "one of steps"),
        ("steps>=10; import os", 10, "& or |"),
    ],
)
def test_a_text_that_is_no_condition_is_refused_at_its_place(text, place, expected):
    with pytest.raises(ConditionError) as refusal:
        parse(text)
    assert f"condition {text!r}, character {place}: expected {expected}" in str(refusal.value)


def test_a_condition_is_a_text_of_bounded_length():
    for none in (None, 3, ["steps>=3"]):
        with pytest.raises(ConditionError, match="as a text"):
            parse(none)
    with pytest.raises(ConditionError, match="at most"):
        parse("|".join(["steps>=3"] * 1000))


comparisons = st.tuples(
    st.sampled_from(METRICS),
    st.sampled_from([">=", "<=", ">", "<", "="]),
    st.floats(-1e6, 1e6) | st.integers(-5, 5),
)


@given(st.lists(st.lists(comparisons, min_size=1, max_size=3), min_size=1, max_size=3), st.data())
def test_what_was_written_is_what_holds(groups, data):
    text = " | ".join(" & ".join(f"{m} {op} {value!r}" for m, op, value in group) for group in groups)
    values = {name: data.draw(st.integers(-5, 5)) for name in METRICS}
    python = {">=": "__ge__", "<=": "__le__", ">": "__gt__", "<": "__lt__", "=": "__eq__"}
    expected = any(all(getattr(float(values[m]), python[op])(float(v)) for m, op, v in group) for group in groups)
    assert parse(text).holds(metrics(**values)).item() == expected
