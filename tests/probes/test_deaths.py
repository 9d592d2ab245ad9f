"""What closes, recovers, deletes, compacts or trains a run may be killed at any moment."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent / "deaths.py"
KINDS = ("close", "recover", "rm", "compact", "sigterm")
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks and counts on flock, as on Linux")


def check(report: dict, kills: int) -> None:
    for kind in KINDS:
        assert report[kind]["kills"] == kills, kind
        assert set(report[kind]["found"].values()) <= {0}, kind


def death_report(kills: int) -> dict:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--kills", str(kills)], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_nothing_is_lost_doubled_or_wrong_after_100_deaths_of_each_kind():
    check(death_report(100), 100)


def test_the_committed_result_of_100_deaths_of_each_kind_is_clean():
    check(json.loads((SCRIPT.parent / "results" / "deaths.json").read_text()), 100)
