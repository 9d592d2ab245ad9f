import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from tests.scripts import load_script

SCRIPT = Path(__file__).parent / "live_readers.py"


def report_of(seconds: float) -> dict:
    command = [sys.executable, str(SCRIPT), "--seconds", str(seconds)]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def assert_every_read_was_consistent(report: dict) -> None:
    assert report["exit_codes"] == [0, 0, 0]
    for reader in report["readers"]:
        assert reader["reads"] > 0
        assert set(reader) <= {"reads", "consistent", "listed again", "rows at the end"}, reader
        assert reader["consistent"] == reader["reads"]


def test_two_readers_of_a_live_run_see_nothing_inconsistent():
    pytest.importorskip("duckdb", reason="one of the readers is DuckDB")
    assert_every_read_was_consistent(report_of(3))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_readers_of_a_live_run_see_nothing_inconsistent_for_ten_minutes():
    pytest.importorskip("duckdb", reason="one of the readers is DuckDB")
    assert_every_read_was_consistent(report_of(600))


def test_the_committed_result_of_ten_minutes_is_clean():
    report = json.loads((SCRIPT.parent / "results" / "live_readers.json").read_text())
    assert report["seconds"] >= 600
    assert_every_read_was_consistent(report)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda table: table, ""),
        (lambda table: pd.concat([table, table.head(1)]), "doubled"),
        (lambda table: table.drop(index=[3]), "gap"),
        (lambda table: table.assign(weight_mean=0.0), "wrong value"),
        (lambda table: table[table["step"] < 2], "rows gone"),
    ],
)
def test_the_check_finds_each_fault(change, fault):
    script = load_script(SCRIPT)
    rows = [(step, layer, float(step)) for step in range(4) for layer in script.LAYERS]
    table = change(pd.DataFrame(rows, columns=["step", "layer", "weight_mean"]))
    assert script.fault_of(table, at_least=4 * len(script.LAYERS)) == fault
