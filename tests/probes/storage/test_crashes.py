import json
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def crash_report(folder: Path, *, every: int, stride: int) -> dict:
    command = [sys.executable, str(HERE / "crash_points.py"), str(folder), str(every), str(stride)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="forks and counts on flock, as on Linux")
def test_death_before_a_file_operation_loses_and_doubles_nothing(tmp_path):
    report = crash_report(tmp_path, every=20, stride=3)
    assert report["problems"] == []
    assert report["deaths"] > 20
    assert report["deaths_in_recovery"] > 5


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(sys.platform != "linux", reason="forks and counts on flock, as on Linux")
def test_death_before_any_file_operation_and_any_of_recovery_loses_and_doubles_nothing(tmp_path):
    report = crash_report(tmp_path, every=1, stride=1)
    assert report["problems"] == []
    assert report["deaths"] > 60
    assert report["deaths_in_recovery"] > 400
