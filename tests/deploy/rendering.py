"""The chart, rendered by Helm's own engine: Kubernetes objects, or what is refused."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy" / "chart"
RELEASE, NAMESPACE = "run", "training"
NAME = f"{RELEASE}-syllabus"
"""Name of the release's objects."""

Object = dict[str, Any]


@dataclass(frozen=True)
class Release:
    """What ``helm install run deploy/chart --values ...`` would send to Kubernetes."""

    objects: list[Object]
    notes: str

    def of_kind(self, kind: str) -> list[Object]:
        """All objects of a kind."""
        return [each for each in self.objects if each["kind"] == kind]

    def one(self, kind: str, name: str = NAME) -> Object:
        """The one object of that kind and name."""
        (found,) = (each for each in self.of_kind(kind) if each["metadata"]["name"] == name)
        return found

    @property
    def workload(self) -> Object:
        """The StatefulSet or the Deployment."""
        (found,) = self.of_kind("StatefulSet") + self.of_kind("Deployment")
        return found

    @property
    def pod(self) -> Object:
        """Spec of the workload's pods."""
        return self.workload["spec"]["template"]["spec"]

    @property
    def container(self) -> Object:
        """The service's container."""
        (found,) = (each for each in self.pod["containers"] if each["name"] == "syllabus")
        return found


def value_sets() -> dict[str, Object]:
    """The values that come with the chart, by name: deploy/chart/ci/NAME-values.yaml."""
    files = sorted((CHART / "ci").glob("*-values.yaml"))
    return {path.name.removesuffix("-values.yaml"): yaml.safe_load(path.read_text()) for path in files}


def render(values: Object) -> Release:
    """Render the chart. Raises helm_python's HelmError where values are refused."""
    from helm_python.chart import Chart

    with Chart.load(CHART) as chart:
        rendered = chart.render(copy.deepcopy(values), name=RELEASE, namespace=NAMESPACE)
    notes = rendered.pop(f"{chart_name()}/templates/NOTES.txt")
    objects = [each for text in rendered.values() for each in yaml.safe_load_all(text) if each]
    return Release(objects, notes)


def chart_name() -> str:
    """Name of the chart."""
    return str(yaml.safe_load((CHART / "Chart.yaml").read_text())["name"])


def merged(values: Object, **changes: Any) -> Object:
    """Values with changes: ``merged(values, tls__secretName="")`` sets ``tls.secretName``."""
    result = copy.deepcopy(values)
    for path, value in changes.items():
        *parents, last = path.split("__")
        place = result
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = value
    return result
