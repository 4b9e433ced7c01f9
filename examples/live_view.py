"""What the demo shows while it runs: a live terminal view, or plain lines where there is no terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol, TextIO

import numpy as np
from rich.columns import Columns
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.rule import Rule
from rich.style import Style
from rich.table import Table
from rich.text import Text

from examples.cartpole_family import FORCES, LENGTHS, MAX_STEPS

PLAIN_INTERVAL = 5.0
"""Seconds between two plain lines."""

_SHAPE = (len(LENGTHS), len(FORCES))
# From dark to light, equally spaced: for the eye, equal steps look equally far apart.
_COLOURS = np.array([(26, 20, 66), (86, 30, 110), (158, 47, 105), (220, 80, 75), (250, 146, 60), (252, 230, 140)])


@dataclass(frozen=True)
class Progress:
    """How one curriculum's training stands."""

    name: str
    number: int
    """From 1."""
    of: int
    elapsed: float
    """Seconds."""
    seconds: float
    """Seconds that the training lasts."""
    episodes: int
    steps: int
    generations: int
    distribution: np.ndarray
    """float64 (tasks,): what the service draws from."""
    task_returns: np.ndarray
    """float64 (tasks,): recent mean return of each task, NaN where there is none."""


class View(Protocol):
    """Shows progress."""

    def show(self, progress: Progress) -> None: ...

    def say(self, text: str) -> None:
        """Show a line that stays."""


@contextmanager
def open_view(stream: TextIO = sys.stdout) -> Iterator[View]:
    """The live view where the stream is a terminal that can show it, otherwise plain lines."""
    console = Console(file=stream)
    if not console.is_terminal or console.is_dumb_terminal:
        yield PlainView(stream)
        return
    with Live(console=console, auto_refresh=False, transient=True) as live:
        yield LiveView(live)


class PlainView:
    """A line every ``PLAIN_INTERVAL`` seconds of training."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._next = 0.0
        self._run = 0

    def show(self, progress: Progress) -> None:
        end = progress.seconds
        if progress.number != self._run:
            self._run, self._next = progress.number, min(PLAIN_INTERVAL, end)
        if progress.elapsed < self._next:
            return
        self._next = min(self._next + PLAIN_INTERVAL, end) if progress.elapsed < end else float("inf")
        self.say(
            f"{progress.name}: {progress.elapsed:.0f} of {progress.seconds:.0f} s, {_throughput(progress)}, "
            f"recent mean return {_mean(progress.task_returns):.0f}, "
            f"as if {_effective(progress.distribution):.0f} tasks were drawn equally"
        )

    def say(self, text: str) -> None:
        print(text, file=self._stream, flush=True)


class LiveView:
    """Throughput, and two heat maps side by side: how often each task is drawn, and how well it goes."""

    def __init__(self, live: Live) -> None:
        self._live = live

    def show(self, progress: Progress) -> None:
        permille = 1000 * progress.distribution
        left = max(progress.seconds - progress.elapsed, 0.0)
        bar = Table.grid(padding=(0, 2))
        bar.add_row(
            ProgressBar(total=progress.seconds, completed=progress.seconds - left, width=60), f"{left:.0f} s left"
        )
        numbers = Text(
            f"{_throughput(progress)}, {progress.generations} policy updates\n"
            f"recent mean return {_mean(progress.task_returns):.0f} of {MAX_STEPS}, drawn as if "
            f"{_effective(progress.distribution):.0f} of {len(permille)} tasks were equally likely\n"
        )
        cell = 4 if self._live.console.width >= 96 else 3  # characters: two maps stand side by side on 80 columns
        maps = [
            heat_map("probability of each task, ‰", permille, max(permille.max(), 20.0), cell),
            heat_map("recent mean return of each task", progress.task_returns, MAX_STEPS, cell),
        ]
        title = Rule(f"[bold]{progress.name}[/bold]   {progress.number} of {progress.of}", style="dim")
        self._live.update(Group(title, bar, numbers, Columns(maps, padding=(0, 3))), refresh=True)

    def say(self, text: str) -> None:
        self._live.console.print(text, highlight=False)


def heat_map(title: str, values: np.ndarray, top: float, cell: int) -> Table:
    """A coloured table of numbers, lengths down and forces across. NaN is left blank."""
    table = Table.grid(padding=0)
    every = 1 if cell > 3 else 2  # narrow columns leave room for every second name
    names = [_short(force) if place % every == 0 else "" for place, force in enumerate(FORCES)]
    table.add_row(Text(" m\\N ", style="dim"), *(Text(f"{name:>{cell}}", style="dim") for name in names))
    for length, row in zip(LENGTHS, values.reshape(_SHAPE), strict=True):
        table.add_row(Text(f"{_short(length):>4} ", style="dim"), *(_cell(value, top, cell) for value in row))
    table.add_row()
    outer = Table.grid()
    outer.add_row(title)
    outer.add_row(table)
    return outer


def _cell(value: float, top: float, width: int) -> Text:
    if np.isnan(value):
        return Text(" " * width)
    place = min(max(value / top, 0.0), 1.0)
    at = np.linspace(0.0, 1.0, len(_COLOURS))
    red, green, blue = (int(np.interp(place, at, _COLOURS[:, channel])) for channel in range(3))
    ink = "black" if place > 0.55 else "white"
    return Text(f"{value:>{width}.0f}", style=Style.parse(f"{ink} on rgb({red},{green},{blue})"))


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}" if value >= 1 else f"{value:.2g}".removeprefix("0")


def _throughput(progress: Progress) -> str:
    elapsed = max(progress.elapsed, 1e-9)
    return f"{progress.episodes / elapsed:,.0f} episodes/s, {progress.steps / elapsed:,.0f} steps/s"


def _mean(task_returns: np.ndarray) -> float:
    return 0.0 if np.isnan(task_returns).all() else float(np.nanmean(task_returns))


def _effective(distribution: np.ndarray) -> float:
    """exp of the entropy: how many equally likely tasks would have it."""
    positive = distribution[distribution > 0]
    return float(np.exp(-(positive * np.log(positive)).sum()))
