"""OMNI: the table of interestingness, the greedy order, known failure 17, and a hundred thousand tasks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from syllabus_client.task_spaces import DiscreteTaskSpace, MultiDiscreteTaskSpace
from syllabus_service.curricula import InvalidParamsError, create
from syllabus_service.curricula.interestingness import Interestingness, load_interestingness

quick = settings(max_examples=100, deadline=None, derandomize=True)

WOOD = DiscreteTaskSpace(["wood", "2 wood", "pick", "stone"])
NAMES = ["omni", "omni_learnability"]


def greedy(matrix: np.ndarray, rates: np.ndarray) -> list[bool]:
    """From the best task down, one that isn't boring makes boring what its row says, of what is left."""
    left = sorted(range(len(rates)), key=lambda i: (-rates[i], i))
    boring = [False] * len(rates)
    while left:
        task = left.pop(0)
        if not boring[task]:
            for other in left:
                boring[other] = boring[other] or not matrix[task, other]
    return boring


@quick
@given(
    st.integers(1, 7).flatmap(
        lambda n: st.tuples(
            st.lists(st.booleans(), min_size=n * n, max_size=n * n),
            st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), min_size=n, max_size=n),
        )
    )
)
def test_boring_tasks_are_those_of_the_greedy_rule(table_and_rates: tuple[list[bool], list[float]]) -> None:
    rates = np.array(table_and_rates[1])
    n = len(rates)
    matrix = np.array(table_and_rates[0]).reshape(n, n)
    space = DiscreteTaskSpace(n)
    mapping = {str(i): {str(j): bool(matrix[i, j]) for j in range(n)} for i in range(n)}
    expected = greedy(matrix, rates)
    for table in (matrix, matrix.tolist(), mapping):
        assert Interestingness(space, table).boring(rates).tolist() == expected


@pytest.mark.parametrize("share", [0.02, 0.1, 0.6])
@pytest.mark.parametrize("chain", [True, False])
def test_long_chains_and_full_rows_follow_the_greedy_rule(share: float, chain: bool) -> None:
    rng = np.random.default_rng(7)
    for n in (20, 60):
        matrix = rng.random((n, n)) >= share
        if chain:  # each task bores the next, and what becomes of one depends on what became of all before it
            matrix[np.arange(n - 1), np.arange(1, n)] = False
        for rates in (np.linspace(1, 0, n), np.zeros(n), rng.random(n)):
            assert Interestingness(DiscreteTaskSpace(n), matrix).boring(rates).tolist() == greedy(matrix, rates)


@pytest.mark.parametrize("name", NAMES)
def test_known_failure_17_the_second_call_equals_the_first(name: str) -> None:
    curriculum = create(name, WOOD, {"interestingness": {"wood": {"2 wood": False}}}, seed=0)
    curriculum.custom_update(success_rates=[0.9, 0.5, 0.3, 0.2])
    first = curriculum.distribution().tolist()
    assert curriculum.distribution().tolist() == first
    curriculum.sample(8)
    assert curriculum.distribution().tolist() == first


@pytest.mark.parametrize("name", NAMES)
def test_a_boring_task_has_a_thousandth_of_its_weight(name: str) -> None:
    plain = create({"omni": "learning_progress", "omni_learnability": "learnability"}[name], WOOD, seed=0)
    omni = create(name, WOOD, {"interestingness": {"wood": {"2 wood": False}}}, seed=0)
    for rates in ([0.1, 0.1, 0.1, 0.2], [0.9, 0.5, 0.3, 0.2]):
        plain.custom_update(success_rates=rates)
        omni.custom_update(success_rates=rates)
    weights = plain.distribution() * [1.0, 0.001, 1.0, 1.0]
    assert omni.distribution() == pytest.approx(weights / weights.sum(), abs=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_without_a_table_everything_is_interesting(name: str) -> None:
    assert not Interestingness(WOOD, None).boring(np.ones(4)).any()
    assert create(name, WOOD, seed=0).distribution().tolist() == [0.25] * 4


@pytest.mark.parametrize(
    ("space", "key", "other"),
    [
        (DiscreteTaskSpace([10, 20, 30]), "10", 30),
        (DiscreteTaskSpace(3, start=5), 5, "7"),
        (DiscreteTaskSpace(3, task_names=["one", "two", "three"]), "one", "three"),
        (DiscreteTaskSpace(["1", "x", "2"]), "1", "2"),
        (MultiDiscreteTaskSpace([["a"], 3]), '["a", 0]', ("a", 2)),
    ],
)
def test_tasks_are_named_decoded_or_by_name_or_as_json(space: Any, key: Any, other: Any) -> None:
    boring = Interestingness(space, {key: {other: False}}).boring(np.array([1.0, 0.5, 0.2]))
    assert boring.tolist() == [False, False, True]


@pytest.mark.parametrize(
    "table",
    [
        {"wood": {"gold": False}},
        {"gold": {"wood": False}},
        {"wood": ["2 wood"]},
        {"wood": {"2 wood": 0}},
        [[True] * 4] * 3,
        [[1.0] * 4] * 4,
        "tasks.json",
    ],
)
def test_what_is_no_table_is_refused_by_name(table: Any) -> None:
    with pytest.raises(InvalidParamsError, match="interestingness"):
        create("omni", WOOD, {"interestingness": table})


def test_a_parameter_never_reads_a_file(tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    path.write_text('{"wood": {"2 wood": false}}')
    with pytest.raises(InvalidParamsError, match="interestingness"):
        create("omni", WOOD, {"interestingness": str(path)})
    with pytest.raises(InvalidParamsError, match="interestingness"):
        create("omni", WOOD, {"interestingness": path})


def test_a_table_is_loaded_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    path.write_text('{"wood": {"2 wood": false}}')
    table = load_interestingness(path)
    assert Interestingness(WOOD, table).boring(np.array([0.9, 0.8, 0.0, 0.0])).tolist() == [False, True, False, False]


@pytest.mark.parametrize("content", ["[]", '{"wood": true}', "{"])
def test_a_file_without_a_table_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "table.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=r"table\.json|line 1"):
        load_interestingness(path)


@pytest.mark.parametrize("name", NAMES)
def test_a_hundred_thousand_tasks_are_no_matter(name: str) -> None:
    n = 100_000
    table = {str(i): {str(i + 1): False} for i in range(0, n - 1, 2)}
    json.dumps(table)  # as it would travel
    curriculum = create(name, DiscreteTaskSpace(n), {"interestingness": table, "random_start_tasks": 0}, seed=0)
    curriculum.custom_update(success_rates=np.linspace(0.9, 0.1, n))
    distribution = curriculum.distribution()
    boring = np.arange(n) % 2 == 1
    assert distribution.sum() == pytest.approx(1.0, abs=1e-9)
    assert distribution[boring].sum() == pytest.approx(0.001 / 1.001, rel=0.01)
