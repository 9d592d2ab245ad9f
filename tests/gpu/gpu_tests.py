"""Run `pytest -m gpu` over the files that have such tests, and tell the outcome of each.

    python tests/gpu/gpu_tests.py --device cuda

Warnings are told and fail nothing: those of a torch that the project has not met before must not hide the rest.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from part import Part

ROOT = Path(__file__).parents[2]
LONGEST = 60  # seconds a test, where pytest-timeout is installed
OPTIONS = ["-m", "gpu", "-q", "--tb=short", "--continue-on-collection-errors"]
OPTIONS += ["-p", "no:cacheprovider", "-p", "no:xdist"]  # leave the checkout as it is; one process on the GPU
# In the place of those in pyproject.toml, which ask for plugins that may not be there.
SETTINGS = {"addopts": "--import-mode=importlib", "filterwarnings": "default", "timeout": str(LONGEST)}


class Outcomes:
    """A plugin that keeps what became of each test, at once: the process may be ended before the last one."""

    def __init__(self, part: Part) -> None:
        self._part = part
        self.tests: dict[str, dict[str, Any]] = {}
        self.warned: Counter[str] = Counter()

    @property
    def counts(self) -> dict[str, int]:
        """How many tests had each outcome."""
        return dict(Counter(test["outcome"] for test in self.tests.values()))

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed:
            self._note(report, "error")

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed:
            self._note(report, "failed" if report.when == "call" else "error")
        elif report.skipped or report.when == "call":
            self._note(report, report.outcome)

    def pytest_warning_recorded(self, warning_message: Any) -> None:
        self.warned[f"{warning_message.category.__name__}: {str(warning_message.message)[:300]}"] += 1

    def _note(self, report: Any, outcome: str) -> None:
        why = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longreprtext[-3000:]
        self.tests[report.nodeid] = {"outcome": outcome, **({} if outcome == "passed" else {"why": why})}
        self._part.keep(counts=self.counts, tests=self.tests, warned=dict(self.warned))


def main() -> int:
    """Run the tests and tell what became of them."""
    part = Part(__doc__)
    try:
        import pytest
    except ImportError:
        return part.end(["pytest is not installed: none of the tests ran"], headline="no pytest")
    os.chdir(ROOT)
    os.environ.pop("PYTEST_ADDOPTS", None)
    files = [path for path in sorted(ROOT.glob("tests/**/test_*.py")) if "pytest.mark.gpu" in path.read_text()]
    outcomes = Outcomes(part)
    settings = [word for name, value in SETTINGS.items() for word in ("-o", f"{name}={value}")]
    pytest.main([*OPTIONS, *settings, *map(str, files)], plugins=[outcomes])
    found = {name: test["outcome"] for name, test in outcomes.tests.items()}
    failures = [f"{name}: {outcome}" for name, outcome in found.items() if outcome in {"failed", "error"}]
    if not found or (not part.tiny and "passed" not in found.values()):
        failures.append(f"no test passed, of {len(found)} in {len(files)} files")
    return part.end(failures, headline=", ".join(f"{count} {outcome}" for outcome, count in outcomes.counts.items()))


if __name__ == "__main__":
    sys.exit(main())
