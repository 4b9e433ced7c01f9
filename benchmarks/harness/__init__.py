"""What all benchmarks share: arms in processes of their own, run in turn; noise of the machine; tables and JSON.

A program makes arms (``process_arm``, or ``Arm`` around a function that returns a ``Run``), hands them to
``Options.compare``, and makes a ``Result`` of the ``Comparison``. An arm measures between ``Window.__enter__`` and
``__exit__`` alone, so that neither imports nor connections count.
"""

from benchmarks.harness.arms import ROOT, Arm, ArmFailedError, Run, arm_main, process_arm
from benchmarks.harness.comparison import Comparison, Spread, compare
from benchmarks.harness.noise import Noise, Rule, Window
from benchmarks.harness.process_tree import cpu_seconds, peak_rss_bytes, process_cpu_seconds, rss_bytes

__all__ = [
    "ROOT",
    "Arm",
    "ArmFailedError",
    "Comparison",
    "Noise",
    "Rule",
    "Run",
    "Spread",
    "Window",
    "arm_main",
    "compare",
    "cpu_seconds",
    "peak_rss_bytes",
    "process_arm",
    "process_cpu_seconds",
    "rss_bytes",
]
