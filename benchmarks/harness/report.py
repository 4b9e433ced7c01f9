"""The report of all results: a results file a machine and date, its page, its pictures, and the docs that show them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.harness.arms import ROOT
from benchmarks.harness.plots import plot_growth, plot_main_job
from benchmarks.harness.results import Result, Verdict, markdown_table
from benchmarks.harness.revision import of_commit, revision
from benchmarks.harness.sizing import ray_costs_table, ray_estimate_table, sizing_table

_DOCS = (ROOT / "README.md", ROOT / "docs" / "performance.md", ROOT / "docs" / "scaling.md")
_STATES = {True: "met", False: "**not met**", None: "not measured"}


def write_report(stem: Path, machine: Mapping[str, Any], date: str, results: Mapping[str, Result]) -> list[Path]:
    """Write ``stem``.json, ``stem``.md, and pictures beside them; returns what was written."""
    programs = {name: each.to_json() for name, each in results.items()}
    content = {"machine": machine, "date": date, **revision(), "programs": programs}
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
    ``complete``: what they say is of one day and one commit.
    """
    contents = {name: _table(each) for name, each in results.items()}
    if complete:
        contents["budget"] = f"{_machine_line(machine, date)}\n\n{budget_table(results)}"
        contents["sizing"] = sizing_table(results)
    if "ray_front_doors" in results and "failed" not in results["ray_front_doors"].data:
        contents["ray_costs"] = ray_costs_table(results["ray_front_doors"])
        contents["ray_estimate"] = ray_estimate_table(results["ray_front_doors"])
    for doc in _DOCS:
        where = "../benchmarks/results/" if doc.parent.name == "docs" else "benchmarks/results/"
        text = doc.read_text(encoding="utf-8")
        for name, content in contents.items():
            text = fill(text, name, content)
        for name, path in _picture_paths(stem).items():
            if name in results and path.exists():
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


def _picture_paths(stem: Path) -> dict[str, Path]:
    return {"main_job": stem.with_name(f"{stem.name}.png"), "growth": stem.with_name(f"{stem.name}-growth.png")}


def _pictures(stem: Path, results: Mapping[str, Result]) -> dict[str, Path]:
    """Of what did not fail."""
    paths = {
        name: path
        for name, path in _picture_paths(stem).items()
        if name in results and "failed" not in results[name].data
    }
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
        f"Measured on {date}{of_commit(revision())}: {machine['cores']} cores of {machine['cpu']}, "
        f"{machine['memory_gib']} GiB, Linux {machine['kernel']}, Python {machine['python']}."
    )


def _page(machine: Mapping[str, Any], date: str, results: Mapping[str, Result], pictures: Mapping[str, Path]) -> str:
    parts = ["# Benchmarks", _machine_line(machine, date), budget_table(results)]
    for name, result in results.items():
        parts += [f"## {name}", f"{result.question[0].upper()}{result.question[1:]}.", _table(result)]
        if name in pictures:
            parts.append(f"![{name}]({pictures[name].name})")
    return "\n\n".join(parts) + "\n"
