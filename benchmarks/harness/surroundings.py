"""The other environments that arms run in, and why one may be missing."""

from __future__ import annotations

import subprocess

from benchmarks.harness.arms import ROOT

SYLLABUS_PYTHON = ROOT / ".venv-syllabus" / "bin" / "python"
_RAY_PYTHONS = [ROOT / name / "bin" / "python" for name in (".venv-ray", ".venv-bench-ray")]
RAY_PYTHON = next((python for python in _RAY_PYTHONS if python.exists()), _RAY_PYTHONS[-1])
"""Of the environment of Ray's tests where there is one, else of a smaller one without what RLlib needs."""
LOOPBACK_ONLY = (str(ROOT / ".ci" / "with-loopback-only"),)
"""Runs a command in a network namespace in which there is only loopback."""


def why_no_syllabus() -> str:
    """Why Syllabus cannot be run here; empty where it can."""
    return "" if SYLLABUS_PYTHON.exists() else "there is no .venv-syllabus: make .venv-syllabus/ready"


def why_no_ray() -> str:
    """Why Ray cannot be run here; empty where it can."""
    if not RAY_PYTHON.exists():
        return "there is no environment with Ray: make .venv-bench-ray/ready"
    if subprocess.run([*LOOPBACK_ONLY, "true"], check=False, capture_output=True).returncode != 0:
        return "no network namespace can be made here, and Ray must not listen outside of one"
    return ""
