"""What a store may do to its reader: nothing. SECURITY.md names the tests of this file and of others, line by line."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


def attacked(*words: str, seconds: int) -> dict[str, int]:
    command = [sys.executable, str(HERE / "attacks.py"), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=seconds)
    print(done.stdout[-6000:], done.stderr[-2000:])
    assert done.returncode == 0
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.timeout(250)
def test_50_mutations_of_a_store_give_no_traceback_no_hang_and_no_unnamed_fault():
    assert attacked("--mutations", "50", seconds=240) == {"mutations": 50}


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_500_mutations_of_a_store_give_no_traceback_no_hang_and_no_unnamed_fault():
    assert attacked("--mutations", "500", seconds=3500) == {"mutations": 500}


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_every_command_on_bombs_and_hostile_names_keeps_to_its_limits():
    assert attacked("--mutations", "10", "--all", "--bombs", seconds=3500) == {"mutations": 10}


def test_every_line_of_the_security_page_names_tests_that_there_are():
    lines = [line for line in (ROOT / "SECURITY.md").read_text().splitlines() if line.startswith("| ") and "`" in line]
    assert len(lines) > 8
    for line in lines:
        named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", line)
        assert named, line
        for file, test in named:
            assert f"def {test}(" in (ROOT / file).read_text(), f"{file}::{test}"


def test_every_line_of_the_reliability_page_names_tests_that_there_are():
    lines = [
        line
        for line in (ROOT / "docs/reliability.md").read_text().splitlines()
        if line.startswith("| ") and "`tests/" in line
    ]
    assert len(lines) > 10
    for line in lines:
        for file, test in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", line):
            assert f"def {test}(" in (ROOT / file).read_text(), f"{file}::{test}"
