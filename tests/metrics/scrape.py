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
    families: Mapping[str, str]
    """Types by the families' names, those without a sample included; a counter's name is without ``_total``."""

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

    @property
    def declared_as(self) -> set[str]:
        """The families' names, a counter's with ``_total``."""
        return {f"{name}_total" if kind == "counter" else name for name, kind in self.families.items()}

    @property
    def declared(self) -> set[str]:
        """The names that samples of the families have or would have."""
        suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "summary": ("_sum", "_count")}
        return {name + suffix for name, kind in self.families.items() for suffix in suffixes.get(kind, ("",))}


def scrape(address: str) -> Scrape:
    """Read ``/metrics`` with prometheus-client's own parser."""
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=20) as answer:
        text = answer.read().decode()
    families = list(text_string_to_metric_families(text))
    samples = {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }
    return Scrape(samples, {family.name: family.type for family in families})
