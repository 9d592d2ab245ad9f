import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent / "kills.py"
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks and counts on flock, as on Linux")


def kill_report(kills: int) -> dict:
    command = [sys.executable, str(SCRIPT), "--kills", str(kills)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    print(done.stderr)  # why a writer died by itself, should one
    return json.loads(done.stdout)


def test_no_record_is_lost_or_doubled_by_sigkill():
    report = kill_report(10)
    assert report["kills"] == 10
    assert set(report["found"].values()) == {0}, report
    assert report["records_acknowledged_at_the_end"] > 0


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_no_record_is_lost_or_doubled_by_300_sigkills():
    report = kill_report(300)
    assert report["kills"] == 300
    assert set(report["found"].values()) == {0}, report


def test_the_committed_result_of_300_kills_is_clean():
    report = json.loads((SCRIPT.parent / "results" / "kills.json").read_text())
    assert report["kills"] >= 300
    assert set(report["found"].values()) == {0}
