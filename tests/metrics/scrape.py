"""Reading metrics as Prometheus does."""

from __future__ import annotations

import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families


@dataclass(frozen=True)
class Scrape:
    """One scrape's samples."""

    samples: Mapping[tuple[str, frozenset[tuple[str, str]]], float]
    """Values by name and labels."""

    def value(self, name: str, **labels: str) -> float:
        """One sample's value. Raises KeyError where there is none."""
        return self.samples[name, frozenset(labels.items())]

    def labels(self, name: str) -> set[str]:
        """The label names of a metric's samples."""
        return {label for each, labels in self.samples if each == name for label, _ in labels}

    @property
    def names(self) -> set[str]:
        """The names of the samples."""
        return {name for name, _ in self.samples}


def scrape(address: str) -> Scrape:
    """Read ``/metrics`` with prometheus-client's own parser."""
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=20) as answer:
        text = answer.read().decode()
    return Scrape(
        {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }
    )
