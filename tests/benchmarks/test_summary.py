"""RESULTS.md is what summary.py prints: no target and no number of it is stale."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def test_the_committed_results_are_those_of_the_summary() -> None:
    printed = subprocess.run([sys.executable, HERE / "summary.py"], capture_output=True, text=True, check=True).stdout
    assert (HERE / "RESULTS.md").read_text(encoding="utf-8") == printed
