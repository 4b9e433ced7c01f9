"""Pictures of results: the main job beside what else there is, and the curves of growth."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt

_PANELS = (
    ("episodes_per_s", "episodes/s (more is better)"),
    ("wait_p50_us", "wait of reset(), p50, us (less is better)"),
    ("cpu_us_per_episode", "CPU, us an episode (less is better)"),
)
_NONE = dict.fromkeys(("median", "low", "high"), float("nan"))
_COLOURS = ("tab:blue", "tab:orange", "tab:green", "tab:red")


def plot_main_job(arms: Mapping[str, Any], path: Path) -> None:
    """Medians of the main job, with their range; one panel a figure, logarithmic.

    Args:
        arms: of the result ``main_job``, by name.
        path: a PNG.
    """
    figure, axes = plt.subplots(1, len(_PANELS), figsize=(11, 2.4), layout="constrained")
    for axis, (name, title) in zip(axes, _PANELS, strict=True):
        spreads = [arm["figures"][name] for arm in arms.values()]
        medians = [each["median"] for each in spreads]
        errors = [
            [each["median"] - each["low"] for each in spreads],
            [each["high"] - each["median"] for each in spreads],
        ]
        for row, (median, low, high) in enumerate(zip(medians, *errors, strict=True)):
            axis.errorbar(median, row, xerr=[[low], [high]], fmt="o", markersize=8, color=_COLOURS[row])
            axis.annotate(f"{median:,.0f}", (median, row), (0, 7), textcoords="offset points", ha="center", fontsize=8)
        axis.set_yticks(range(len(medians)), list(arms))
        axis.set_ylim(-0.7, len(medians) - 0.5)
        axis.grid(axis="x", alpha=0.3)
        axis.set_xscale("log")
        axis.set_xlim(min(medians) / 3, max(medians) * 6)
        axis.set_title(title, fontsize=9)
        axis.tick_params(labelsize=8)
        axis.invert_yaxis()
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def plot_growth(curves: Mapping[str, Any], path: Path) -> None:
    """One column a curve; rows: episodes a second, waits, CPU, memory; both axes logarithmic; shaded: min to max.

    Args:
        curves: of the result ``growth``, by name.
        path: a PNG.
    """
    rows = ("episodes/s", "wait, us: p50, p99 dashed", "CPU, us an episode", "RSS, MiB: service, client dashed")
    lines = (
        ("episodes_per_s", 0, "-"),
        ("wait_p50_us", 1, "-"),
        ("wait_p99_us", 1, "--"),
        ("cpu_us_per_episode", 2, "-"),
        ("service_rss_mib", 3, "-"),
        ("client_rss_mib", 3, "--"),
    )
    figure, axes = plt.subplots(
        len(rows), len(curves), figsize=(2.6 * len(curves), 8), layout="constrained", sharex="col", squeeze=False
    )
    for column, (name, curve) in enumerate(curves.items()):
        arms = dict.fromkeys(point["arm"] for point in curve["points"])
        for colour, arm in zip(_COLOURS, arms, strict=False):
            points = [point for point in curve["points"] if point["arm"] == arm]
            at = [point["at"] for point in points]
            for value, row, style in lines:
                spreads = [point.get(value, _NONE) for point in points]
                low, high = ([each[end] for each in spreads] for end in ("low", "high"))
                medians = [each["median"] for each in spreads]
                label = arm if row == 0 else None
                axes[row][column].plot(at, medians, style, marker=".", color=colour, label=label)
                axes[row][column].fill_between(at, low, high, color=colour, alpha=0.15, linewidth=0)
        for row in range(len(rows)):
            axes[row][column].set_xscale("log")
            axes[row][column].set_yscale("log")
            axes[row][column].grid(alpha=0.3)
            axes[row][column].tick_params(labelsize=7)
        axes[0][column].set_title(name, fontsize=9)
        axes[0][column].legend(fontsize=6)
    for row, title in enumerate(rows):
        axes[row][0].set_ylabel(title, fontsize=8)
    figure.savefig(path, dpi=130)
    plt.close(figure)
