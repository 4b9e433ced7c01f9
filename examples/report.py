"""What the demo leaves: a table on the terminal, a picture, and the figures behind it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from examples.cartpole_family import FORCES, LENGTHS, MAX_STEPS

SOLVED = 475.0
"""Mean return from which on a task counts as solved: CartPole-v1's own threshold."""

_SHAPE = (len(LENGTHS), len(FORCES))


@dataclass(frozen=True)
class Result:
    """What came of one curriculum."""

    name: str
    seconds: float
    episodes_per_task: np.ndarray
    """int64 (tasks,): episodes that the service counted."""
    curve_steps: np.ndarray
    """int64 (points,): environment steps so far, at each point of the learning curve."""
    curve_returns: np.ndarray
    """float64 (points, tasks): mean return of each task, evaluated outside of the curriculum. The last is the end."""

    @property
    def returns(self) -> np.ndarray:
        """float64 (tasks,): mean return of each task at the end."""
        return self.curve_returns[-1]


def print_table(results: Sequence[Result], console: Console) -> None:
    """One row a curriculum, then the mean return of each task for each, as numbers.

    One training may have had more of the machine than the other: one column compares them after as many steps.
    """
    common = min(int(result.curve_steps[-1]) for result in results)
    table = Table(title="\nThe learned policies, each on the same episodes of all tasks")
    table.add_column("curriculum")
    for column in (
        "seconds",
        "episodes",
        "env steps",
        f"mean return\nat {common:,} steps",
        "mean return\nat the end",
        f"tasks solved\n(≥{SOLVED:.0f})",
    ):
        table.add_column(column, justify="right")
    for result in results:
        table.add_row(
            result.name,
            f"{result.seconds:.0f}",
            f"{result.episodes_per_task.sum():,}",
            f"{result.curve_steps[-1]:,}",
            f"{np.interp(common, result.curve_steps, result.curve_returns.mean(axis=1)):.1f}",
            f"{result.returns.mean():.1f}",
            f"{(result.returns >= SOLVED).sum()} of {result.returns.size}",
        )
    console.print(table)
    for result in results:
        grid = Table(title=f"mean return per task: {result.name}", box=None, padding=(0, 1))
        grid.add_column("half length \\ force", justify="right")
        for force in FORCES:
            grid.add_column(f"{force:g} N", justify="right")
        for length, row in zip(LENGTHS, result.returns.reshape(_SHAPE), strict=True):
            grid.add_row(f"{length:g} m", *(f"{value:.0f}" for value in row))
        console.print(grid)


def write_figures(results: Sequence[Result], path: Path) -> None:
    """Write all figures as JSON."""
    figures = {
        "lengths_m": LENGTHS,
        "forces_N": FORCES,
        "curricula": {
            result.name: {
                "seconds": round(result.seconds, 3),
                "mean_return": round(float(result.returns.mean()), 3),
                "mean_return_per_task": result.returns.reshape(_SHAPE).round(2).tolist(),
                "episodes_per_task": result.episodes_per_task.reshape(_SHAPE).tolist(),
                "curve_steps": result.curve_steps.tolist(),
                "curve_mean_return": result.curve_returns.mean(axis=1).round(2).tolist(),
            }
            for result in results
        },
    }
    path.write_text(json.dumps(figures, indent=1) + "\n")


def draw_picture(results: Sequence[Result], path: Path) -> None:
    """Draw both curricula: mean return and number of episodes per task, their difference, and the learning curves."""
    import matplotlib  # heavy, and only needed at the end

    matplotlib.use("Agg")
    from matplotlib import pyplot

    first, second = results
    figure, axes = pyplot.subplots(2, 3, figsize=(16, 9.5), layout="constrained")
    figure.suptitle("CartPole-v1 as a family of tasks: half pole length × force magnitude", fontsize=15)
    most = max(result.episodes_per_task.max() for result in results)
    for column, result in enumerate(results):
        title = f"Mean return per task\n{result.name}: {result.returns.mean():.0f} on average"
        _draw_map(figure, axes[0, column], title, result.returns, cmap="viridis", vmin=0, vmax=MAX_STEPS)
        title = f"Episodes per task in training\n{result.name}: {result.episodes_per_task.sum():,} in all"
        _draw_map(figure, axes[1, column], title, result.episodes_per_task, cmap="magma", vmin=0, vmax=most)
    difference = second.returns - first.returns
    title = f"Difference of mean return\n{second.name} less {first.name}: {difference.mean():+.0f} on average"
    _draw_map(figure, axes[0, 2], title, difference, cmap="RdBu", vmin=-MAX_STEPS, vmax=MAX_STEPS)
    _draw_curves(axes[1, 2], results)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def _draw_map(figure, axes, title: str, values: np.ndarray, **options) -> None:  # type: ignore[no-untyped-def]
    image = axes.imshow(values.reshape(_SHAPE), origin="lower", aspect="auto", **options)
    middle = (options["vmin"] + options["vmax"]) / 2
    for (row, column), value in np.ndenumerate(values.reshape(_SHAPE)):
        red, green, blue, _ = image.cmap(image.norm(value if np.isfinite(value) else middle))
        dark = 0.299 * red + 0.587 * green + 0.114 * blue < 0.5
        axes.text(column, row, f"{value:.0f}", ha="center", va="center", fontsize=8, color="white" if dark else "black")
    axes.set_title(title, fontsize=11)
    axes.set_xticks(range(len(FORCES)), [f"{force:g}" for force in FORCES])
    axes.set_yticks(range(len(LENGTHS)), [f"{length:g}" for length in LENGTHS])
    axes.set_xlabel("force (N)")
    axes.set_ylabel("half pole length (m)")
    figure.colorbar(image, ax=axes, shrink=0.85)


def _draw_curves(axes, results: Sequence[Result]) -> None:  # type: ignore[no-untyped-def]
    for result, colour in zip(results, ("tab:gray", "tab:blue"), strict=True):
        axes.plot(result.curve_steps / 1e6, result.curve_returns.mean(axis=1), color=colour, label=result.name, lw=2)
    axes.set_title("Learning curves\nmean return over all tasks, outside of the curriculum", fontsize=11)
    axes.set_xlabel("environment steps (millions)")
    axes.set_ylabel("mean return")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
