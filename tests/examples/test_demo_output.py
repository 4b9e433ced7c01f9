"""What the demo shows and leaves."""

import io
import json

import numpy as np
import pytest
from rich.console import Console
from rich.live import Live

from examples.cartpole_family import NUM_TASKS
from examples.live_view import LiveView, PlainView, Progress, open_view
from examples.report import Result, draw_picture, print_table, write_figures


def _progress(**changes) -> Progress:
    values = {
        "name": "OnlineLearningProgress",
        "number": 2,
        "of": 2,
        "elapsed": 20.0,
        "seconds": 60.0,
        "episodes": 2000,
        "steps": 400_000,
        "generations": 31,
        "distribution": np.full(NUM_TASKS, 1 / NUM_TASKS),
        "task_returns": np.full(NUM_TASKS, 123.0),
    }
    return Progress(**{**values, **changes})


@pytest.fixture
def results() -> list[Result]:
    rng = np.random.default_rng(1)
    return [
        Result(name, 60.0, rng.integers(0, 90, NUM_TASKS), np.array([0, 5000]), rng.uniform(0, 500, (2, NUM_TASKS)))
        for name in ("DomainRandomization", "OnlineLearningProgress")
    ]


def test_without_a_terminal_there_are_plain_lines_and_no_control_sequences():
    stream = io.StringIO()
    with open_view(stream) as view:
        assert isinstance(view, PlainView)
        for elapsed in np.arange(0.0, 61.0, 0.5):
            view.show(_progress(elapsed=elapsed))
    lines = stream.getvalue().splitlines()
    assert len(lines) == 12
    assert "100 episodes/s, 20,000 steps/s" in next(line for line in lines if "20 of 60 s" in line)
    assert "\x1b" not in stream.getvalue()


def test_a_training_shorter_than_the_interval_has_a_line_too():
    stream = io.StringIO()
    view = PlainView(stream)
    view.show(_progress(elapsed=1.0, seconds=2.0))
    view.show(_progress(elapsed=2.0, seconds=2.0))
    assert len(stream.getvalue().splitlines()) == 1


@pytest.mark.parametrize("width", [80, 120])
def test_the_live_view_shows_throughput_and_two_maps_side_by_side(width):
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=width, height=30, color_system=None)
    with Live(console=console, auto_refresh=False) as live:
        LiveView(live).show(_progress(task_returns=np.arange(NUM_TASKS, dtype=float)))
        lines = stream.getvalue().splitlines()
    assert any("100 episodes/s, 20,000 steps/s, 31 policy updates" in line for line in lines)
    assert any("100 of 100 tasks were equally likely" in line for line in lines)
    row = next(line for line in lines if line.strip().startswith("50 "))
    assert row.split()[1:11] == ["10"] * 10  # permille
    assert row.split()[12:] == [str(value) for value in range(90, 100)]


def test_a_task_that_was_never_run_is_left_blank_in_the_map():
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=120, height=30, color_system=None)
    returns = np.full(NUM_TASKS, np.nan)
    returns[-1] = 500.0
    with Live(console=console, auto_refresh=False) as live:
        LiveView(live).show(_progress(task_returns=returns))
        text = stream.getvalue()
    assert "nan" not in text
    assert "recent mean return 500 of 500" in text


def test_the_table_has_the_mean_return_of_every_task_under_both(results):
    stream = io.StringIO()
    print_table(results, Console(file=stream, width=120))
    words = stream.getvalue().split()
    for result in results:
        assert f"{result.returns.mean():.1f}" in words
        assert all(f"{value:.0f}" in words for value in result.returns)


def test_picture_and_figures_are_written(results, tmp_path):
    draw_picture(results, tmp_path / "picture.png")
    write_figures(results, tmp_path / "figures.json")
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")
    figures = json.loads((tmp_path / "figures.json").read_text())["curricula"]
    assert figures["DomainRandomization"]["mean_return"] == pytest.approx(results[0].returns.mean(), abs=1e-3)
    assert np.array(figures["OnlineLearningProgress"]["mean_return_per_task"]).shape == (10, 10)
