"""The report of all results: a results file a machine and date, its page, its pictures, and the docs that show them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.harness.arms import ROOT
from benchmarks.harness.plots import plot_growth, plot_main_job
from benchmarks.harness.results import Result, Verdict, markdown_table, number

_DOCS = (ROOT / "README.md", ROOT / "docs" / "performance.md")
_STATES = {True: "met", False: "**not met**", None: "not measured"}


def write_report(stem: Path, machine: Mapping[str, Any], date: str, results: Mapping[str, Result]) -> list[Path]:
    """Write ``stem``.json, ``stem``.md, and pictures beside them; returns what was written."""
    content = {"machine": machine, "date": date, "programs": {name: each.to_json() for name, each in results.items()}}
    written = [stem.with_name(f"{stem.name}{end}") for end in (".json", ".md")]
    written[0].write_text(json.dumps(content, indent=1, default=float) + "\n", encoding="utf-8")
    pictures = _pictures(stem, results)
    written[1].write_text(_page(machine, date, results, pictures), encoding="utf-8")
    return [*written, *pictures.values()]


def fill_docs(
    stem: Path, machine: Mapping[str, Any], date: str, results: Mapping[str, Result], *, complete: bool
) -> None:
    """Put tables and pictures between the markers ``<!-- bench:NAME -->`` and ``<!-- /bench:NAME -->`` of the docs.

    A marker whose program has no result keeps what it holds. So do the budget and the sizing unless the results are
    ``complete``: what they say is of one day.
    """
    contents = {name: _table(each) for name, each in results.items()}
    if complete:
        contents["budget"] = f"{_machine_line(machine, date)}\n\n{budget_table(results)}"
        contents["sizing"] = sizing_table(results)
    for doc in _DOCS:
        where = "../benchmarks/results/" if doc.parent.name == "docs" else "benchmarks/results/"
        text = doc.read_text(encoding="utf-8")
        for name, content in contents.items():
            text = fill(text, name, content)
        for name, path in _picture_paths(stem).items():
            if name in results:
                text = fill(text, f"{name}-plot", f"![{name}]({where}{path.name})")
        doc.write_text(text, encoding="utf-8")


def fill(text: str, name: str, content: str) -> str:
    """The text with new content between a marker and its end; unchanged where there is no such marker."""
    start, end = f"<!-- bench:{name} -->", f"<!-- /bench:{name} -->"
    pattern = re.compile(f"{re.escape(start)}.*?{re.escape(end)}", re.DOTALL)
    return pattern.sub(lambda found: f"{start}\n{content}\n{end}", text)


def budget_table(results: Mapping[str, Result]) -> str:
    """Every row of the budget that was measured, in Markdown."""
    verdicts: list[Verdict] = [verdict for result in results.values() for verdict in result.verdicts]
    rows = [
        [each.work, each.must_reach, each.measured, f"{_STATES[each.met]}{' (noisy machine)' if each.noisy else ''}"]
        for each in verdicts
    ]
    return markdown_table(["work", "must reach", "measured", ""], rows)


def sizing_table(results: Mapping[str, Result]) -> str:
    """What a deployment needs, computed from the figures that are there."""
    rows = []

    def median(program: str, arm: str, figure: str) -> float | None:
        try:
            return results[program].data["arms"][arm]["figures"][figure]["median"]
        except KeyError:
            return None

    if cpu := median("main_job", "this service", "cpu_us_per_episode"):
        rows.append(["episodes/s a core, 8 small processes and the service together", number(1e6 / cpu)])
    if cpu := median("ingest", "this service", "server_cpu_us_per_episode"):
        rows.append(["episodes/s a core of the service, batches of 2,048", number(1e6 / cpu)])
    if cpu := median("sessions", "as fast as answered", "server_cpu_us_per_episode"):
        rows.append(["batches of 8 episodes/s a core of the service, 1,000 sessions", number(1e6 / cpu / 8)])
    peak = median("sessions", "as fast as answered", "peak_rss_mib")
    idle = median("sessions", "as fast as answered", "idle_rss_mib")
    if peak and idle:
        rows.append(["sessions a GiB", number(1024 / ((peak - idle) / 1000))])
        rows.append(["MiB of a service without sessions", number(idle)])
    if most := median("ingest", "this service", "episodes_per_s"):
        rows.append(["most episodes/s of one server, large batches", number(most)])
    if most := median("sessions", "as fast as answered", "batches_per_s"):
        rows.append(["most batches/s of one server, 1,000 sessions", number(most)])
    if most := median("get_task", "GetTask", "calls_per_s"):
        rows.append(["most unary calls/s of one server", number(most)])
    return markdown_table(["", "about"], rows)


def _picture_paths(stem: Path) -> dict[str, Path]:
    return {"main_job": stem.with_name(f"{stem.name}.png"), "growth": stem.with_name(f"{stem.name}-growth.png")}


def _pictures(stem: Path, results: Mapping[str, Result]) -> dict[str, Path]:
    paths = {name: path for name, path in _picture_paths(stem).items() if name in results}
    if "main_job" in paths:
        plot_main_job(results["main_job"].data["arms"], paths["main_job"])
    if "growth" in paths:
        plot_growth(results["growth"].data["curves"], paths["growth"])
    return paths


def _table(result: Result) -> str:
    notes = "\n".join(f"- {note}" for note in result.notes)
    return f"{markdown_table(result.header, result.rows)}\n\n{notes}"


def _machine_line(machine: Mapping[str, Any], date: str) -> str:
    return (
        f"Measured on {date}: {machine['cores']} cores of {machine['cpu']}, {machine['memory_gib']} GiB, "
        f"Linux {machine['kernel']}, Python {machine['python']}."
    )


def _page(machine: Mapping[str, Any], date: str, results: Mapping[str, Result], pictures: Mapping[str, Path]) -> str:
    parts = ["# Benchmarks", _machine_line(machine, date), budget_table(results)]
    for name, result in results.items():
        parts += [f"## {name}", f"{result.question[0].upper()}{result.question[1:]}.", _table(result)]
        if name in pictures:
            parts.append(f"![{name}]({pictures[name].name})")
    return "\n\n".join(parts) + "\n"
