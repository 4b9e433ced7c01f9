"""What the dashboard and the alerts ask for is what a service under load exports; each alert has a runbook entry."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from syllabus_client.stream import open_session
from syllabus_client.wire import curriculum_pb2 as pb
from tests.metrics.scrape import Scrape, scrape
from tests.service.serving import TIMEOUT, spec

ROOT = Path(__file__).parents[2]
FILES = ROOT / "deploy/chart/files"
FUNCTIONS = {
    *("absent", "and", "by", "count", "histogram_quantile", "increase", "max", "min", "on", "or", "rate", "sum"),
    *("time", "unless", "vector", "label_values"),
}
GIVEN_BY_PROMETHEUS = {"instance", "job"}


def _dashboard_queries() -> Iterator[tuple[str, str]]:
    """Expression and legend of each target; the variables' queries, too."""
    dashboard = json.loads((FILES / "dashboard.json").read_text())
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            yield target["expr"], target["legendFormat"]
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["query"], ""


def _alerts() -> list[dict]:
    return [rule for group in yaml.safe_load((FILES / "alerts.yaml").read_text())["groups"] for rule in group["rules"]]


QUERIES = [
    *_dashboard_queries(),
    *((rule["expr"], rule["annotations"]["summary"].replace("$labels.", "")) for rule in _alerts()),
]


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scrape]:
    """One scrape of a service process that has workers, a learner, and callers whom it refuses."""
    from tests.service_process import ServiceProcess

    directory = tmp_path_factory.mktemp("live")
    service = ServiceProcess(
        directory, "--metrics-listen", "127.0.0.1:0", data_dir=directory / "data", listen=f"unix:{directory}/s"
    )
    service.start()
    try:
        yield _scrape_under_load(service.target, service.events("metrics_listening")[0]["address"], service.stub)
    finally:
        service.close()


def _scrape_under_load(target: str, metrics: str, connect: Callable) -> Scrape:
    with connect() as stub:
        request = pb.CreateCurriculumRequest(name="maze", spec=spec("online_learning_progress"))
        stub.CreateCurriculum(request, timeout=TIMEOUT)
        unknown = stub.GetTask.future(pb.GetTaskRequest(curriculum="nowhere"), timeout=TIMEOUT)
        assert unknown.exception() is not None
        session = open_session(target, curriculum="maze")
        try:
            seen = scrape(metrics)
            session.add_environments(4)
            for number in range(2000):
                assignment = session.next_task()
                session.report_episode(assignment.id, episode_return=1.0, length=3, progress=1.0, env_id=number % 4)
                seen = scrape(metrics) if number % 100 == 0 else seen
                if number > 100 and "syllabus_distribution_entropy_nats" in seen.names:
                    break
            session.flush(TIMEOUT)
        finally:
            session.close()
        deadline = time.monotonic() + TIMEOUT
        while not (seen := scrape(metrics)).value("syllabus_episodes_total", curriculum="maze"):  # told once a second
            assert time.monotonic() < deadline
            time.sleep(0.05)
        return seen


@pytest.mark.parametrize(("query", "legend"), QUERIES)
def test_a_query_names_only_metrics_and_labels_that_a_service_exports(live: Scrape, query: str, legend: str) -> None:
    bare = re.sub(r'"[^"]*"', '""', query)
    selectors = re.findall(r"(\w+)\{([^}]*)\}", bare)
    groupings = re.findall(r"\b(?:by|on) \(([^)]*)\)", bare)
    outside = re.sub(r"\{[^}]*\}|\[[^\]]*\]|\b(?:by|on) \([^)]*\)|, curriculum\)$", " ", bare)
    names = set(re.findall(r"[a-zA-Z_:][\w:]*", outside)) - FUNCTIONS
    assert names, query
    assert names <= live.names | live.declared
    labels = {label for name in names for label in live.labels(name)} | GIVEN_BY_PROMETHEUS
    if any(name not in live.names for name in names):
        labels |= {"curriculum"}  # of a metric without a sample as yet: all that have one label have this one
    for name, matchers in selectors:
        of_this = live.labels(name) or {"curriculum"}
        assert set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers)) <= of_this | GIVEN_BY_PROMETHEUS, name
    for grouping in groupings:
        assert set(re.findall(r"\w+", grouping)) <= labels, grouping
    assert set(re.findall(r"\{\{\s*(\w+)\s*\}\}", legend)) <= labels


def test_what_clients_say_of_themselves_reaches_the_metrics_of_a_live_service(live: Scrape) -> None:
    assert live.value("syllabus_client_tasks_used_total", curriculum="maze") > 100
    assert live.value("syllabus_episodes_total", curriculum="maze") > 0
    assert live.value("process_cpu_seconds_total") > 0


def test_each_alert_has_an_entry_in_the_runbook_that_its_annotation_leads_to() -> None:
    page = (ROOT / "docs/operations.md").read_text()
    for rule in _alerts():
        name = rule["alert"]
        assert f"\n#### {name}\n" in page
        assert rule["annotations"]["runbook"] == f"docs/operations.md#{name.lower()}"
        assert rule["labels"]["severity"] in ("critical", "warning", "info")
    entries = re.findall(r"^#### (Syllabus\w+)$", page, re.MULTILINE)
    assert entries == [rule["alert"] for rule in _alerts()]


def test_each_metric_of_the_service_is_explained_and_no_other(live: Scrape) -> None:
    page = (ROOT / "docs/operations.md").read_text()
    explained = set(re.findall(r"`(syllabus_[a-z_]+)`", page))
    assert explained == {name for name in live.declared_as if name.startswith("syllabus_")}


def test_panels_do_not_overlap_and_each_has_a_number_of_its_own() -> None:
    panels = json.loads((FILES / "dashboard.json").read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells
