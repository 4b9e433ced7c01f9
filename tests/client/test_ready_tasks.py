"""ReadyTasks and EpisodeRows: what environments' threads touch without a lock."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator

import numpy as np
import pytest

from syllabus_client.episode_rows import EpisodeRows, TaskFormat
from syllabus_client.ready_tasks import ReadyTasks, TaskColumns


@pytest.fixture
def switching() -> Iterator[None]:
    """Threads take turns a thousand times as often as usual."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(usual / 1000)
    yield
    sys.setswitchinterval(usual)


def columns(first: int, count: int, dtype: type = np.int64) -> TaskColumns:
    ids = np.arange(first, first + count, dtype=np.uint64)
    return TaskColumns(
        ids, ids.astype(dtype), None, np.ones(count, np.uint8), np.zeros(count, np.uint64), np.full(count, 1.5)
    )


def test_one_by_one_and_in_columns_tasks_come_in_the_order_in_which_they_were_put() -> None:
    tasks = ReadyTasks()
    for first in range(0, 900, 300):
        tasks.put(columns(first, 300, np.float32))
    taken: list[int] = []
    while tasks.count:
        tasks.open_window()
        taken.append(tasks.window.pop()[0].id)
        if tasks.count >= 7:
            part = tasks.take(7)
            assert part.encoded.dtype == np.float32
            assert part.encoded.tolist() == part.ids.tolist()
            taken += part.ids.tolist()
        assert tasks.num_taken == len(taken)
        assert tasks.num_put == 900
    assert taken == list(range(900))


@pytest.mark.usefixtures("switching")
def test_threads_that_take_without_a_lock_get_each_task_once_while_another_takes_columns() -> None:
    tasks = ReadyTasks()
    total = 8_000
    tasks.put(columns(0, total))
    over = threading.Event()
    taken: list[list[int]] = [[] for _ in range(3)]

    def pop(mine: list[int]) -> None:
        while not over.is_set():
            try:
                mine.append(tasks.window.pop()[0].id)
            except IndexError:
                continue

    threads = [threading.Thread(target=pop, args=(mine,)) for mine in taken]
    for thread in threads:
        thread.start()
    in_columns: list[int] = []
    while tasks.count:
        tasks.open_window()
        if tasks.num_taken % 3 == 0 and tasks.count > 400:
            in_columns += tasks.take(3).ids.tolist()
    over.set()
    for thread in threads:
        thread.join()
    assert sorted(sum(taken, in_columns)) == list(range(total))
    assert tasks.num_taken == total
    assert in_columns


@pytest.mark.usefixtures("switching")
def test_threads_that_report_without_a_lock_lose_no_row_while_another_takes_them() -> None:
    rows = EpisodeRows(TaskFormat())
    each = 1_000
    over = threading.Event()

    def report(number: int) -> None:
        for episode in range(each):
            rows.add(number * each + episode, None, 1.0, episode, 0.0, number)

    threads = [threading.Thread(target=report, args=(number,)) for number in range(3)]
    seen: list[int] = []

    def collect() -> None:
        while True:
            last = over.is_set()
            if (taken := rows.take_all()) is not None:
                seen.extend(taken[0]["assignment_id"].tolist())
            elif last:
                return

    collector = threading.Thread(target=collect)
    for thread in (*threads, collector):
        thread.start()
    for thread in threads:
        thread.join()
    over.set()
    collector.join()
    assert sorted(seen) == list(range(3 * each))
    assert len(rows) == 0


def test_rows_become_columns_with_and_without_tasks_and_metrics() -> None:
    rows = EpisodeRows(TaskFormat())
    rows.add(5, None, 1, np.int64(7), 0.5, 2)
    rows.add(0, 3, np.float32(2.5), 8, 1.0, 2, {"score": 4}, {"red": 1.0})
    taken = rows.take_all()
    assert taken is not None
    told, metrics, returns = taken
    assert {name: (column.dtype.name, column.tolist()) for name, column in told.items()} == {
        "assignment_id": ("uint64", [5, 0]),
        "told": ("bool", [False, True]),
        "task": ("int64", [0, 3]),
        "episode_return": ("float64", [1.0, 2.5]),
        "length": ("int64", [7, 8]),
        "progress": ("float64", [0.5, 1.0]),
        "env_id": ("int64", [2, 2]),
    }
    assert np.array_equal(metrics["score"], [np.nan, 4.0], equal_nan=True)
    assert np.array_equal(returns["red"], [np.nan, 1.0], equal_nan=True)
    assert rows.take_all() is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": [1.0, 2.0]}, "shape"),
        ({"task": "left"}, "left"),
        ({"assignment_id": -1}, "assignment_id"),
        ({"assignment_id": 1 << 64}, "assignment_id"),
        ({"episode_return": "much"}, "much"),
        ({"metrics": {"": 1.0}}, "1 to 64 characters"),
    ],
)
def test_what_does_not_fit_its_column_is_an_error_of_who_reports_it(changes: dict, message: str) -> None:
    task_format = TaskFormat()
    task_format.learn(np.int64, ())
    rows = EpisodeRows(task_format)
    episode = {"assignment_id": 1, "task": 1, "episode_return": 1.0, "length": 1, "progress": 0.0, "env_id": 0}
    with pytest.raises(ValueError, match=message):
        rows.add(**(episode | changes))
    assert len(rows) == 0


def test_tasks_that_are_arrays_are_copied_when_they_are_reported() -> None:
    rows = EpisodeRows(TaskFormat())
    task = np.array([1.0, 2.0], np.float32)
    rows.add(1, task, 1.0, 1, 0.0, 0)
    task[:] = 0.0
    taken = rows.take_all()
    assert taken is not None
    assert taken[0]["task"].dtype == np.float32
    assert taken[0]["task"].tolist() == [[1.0, 2.0]]
