"""A run with too few records says which kinds of findings it could not show, and what its probe warned of."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from benchmark import sick
from faults import BY_NAME

from analysis import layers, steps
from analysis.findings import FINDINGS, checked, findings, findings_in
from analysis.findings.notices import unchecked, warned
from analysis.findings.run_records import RunRecords
from analysis.report.data import report_data
from analysis.terminal.findings_text import as_json_text, as_notes, counted
from analysis.terminal.watch import view
from probes.schema import STEPS

EVERY = tuple(FINDINGS.values())
NO_STEPS = pd.DataFrame()


def run(records: int, *, losses: int = 40, **columns: list[float]) -> RunRecords:
    """Return a run of one layer with some records, and a loss at each of some steps."""
    recorded = {"weight_mean": [0.0] * records, "update_ratio": [1e-3] * records, **columns}
    rows = pd.DataFrame({"step": np.arange(records), "layer": "a", **recorded})
    logged = pd.DataFrame({"step": np.arange(losses), "split": "train", "loss": 1.0})
    return RunRecords("r", rows, logged if losses else NO_STEPS)


def told(given: RunRecords) -> list[str]:
    return [notice.text for notice in unchecked(given, EVERY)]


@pytest.mark.parametrize(
    "fault",
    [
        "30 sigmoid layers",
        "layer missing in the optimizer",
        "branch detached",
        "layer not called",
        "learning rate 0",
        "learning rate far too small",
        "learning rate far too large",
        "initial weights of 0",
        "labels shuffled",
        "batch norm in eval mode",
        "zero_grad never called",
        "saturated tanh",
        "constant initial weights",
        "state detached",
    ],
)
def test_a_fault_that_is_there_from_the_start_is_told_from_the_fewest_records_on(fault: str, tmp_path: Path) -> None:
    kind, store = BY_NAME[fault].kind, tmp_path / "runs"
    sick(BY_NAME[fault], store)
    of_layers, of_steps, fewest = layers(store), steps(store), FINDINGS[kind].fewest
    ends = sorted(of_steps["step"] if next(iter(FINDINGS[kind].reads)) == STEPS else of_layers["step"].unique())

    def kinds(records: int) -> set[str]:
        last = ends[records - 1]
        return set(findings_in(of_layers[of_layers["step"] <= last], of_steps[of_steps["step"] <= last])["kind"])

    assert kind in kinds(fewest)
    assert all(kind not in kinds(records) for records in range(1, fewest))


def test_one_record_leaves_most_kinds_unchecked() -> None:
    (notice,) = unchecked(run(1), EVERY)
    assert notice.text == (
        f"1 record: {len(notice.kinds)} of {len(EVERY)} kinds of findings need more records and were not checked; "
        "record more often (every=)"
    )
    assert {"no training", "no update", "detached"} < set(notice.kinds)
    assert "vanishing" not in notice.kinds  # its column is not recorded at all


def test_enough_records_and_losses_leave_nothing_unchecked() -> None:
    assert told(run(max(kind.fewest for kind in EVERY))) == []


def test_a_run_without_records_or_without_losses_says_so() -> None:
    no_records, no_losses = told(run(0, losses=0))
    assert no_records.startswith("no records: ")
    assert no_losses.startswith("no training losses were logged: 4 of ")
    assert no_losses.endswith("log the loss at every step (probe.log)")
    assert [text.partition(":")[0] for text in told(run(9, losses=1))] == ["1 training loss was logged"]


@pytest.mark.parametrize(("records", "losses"), [(9, 20), (2, 40)])
def test_a_run_with_a_record_or_a_loss_at_every_step_is_told_to_be_longer(records: int, losses: int) -> None:
    (text,) = told(run(records, losses=losses))
    assert text.endswith("not checked; train for more steps")


def test_a_column_of_sparser_records_is_named() -> None:
    (text,) = told(run(9, spectral_norm=[1.0, *[np.nan] * 8]))
    assert text.startswith(
        "1 record of spectral_norm: 1 of 29 kinds of findings (spectral explosion) needs more records"
    )


def test_warnings_and_failures_of_the_probe_are_told_and_its_notes_are_not() -> None:
    gaps = [
        {"what": "weight", "why": "tied", "layer": "b"},
        {"what": "parameters", "why": "in no optimizer: b", "warned": True},
        {"what": "rank", "why": "ValueError: no", "layer": "a", "first_step": 30, "count": 2, "last_step": 40},
        {"what": "rank", "why": "ValueError: no", "layer": "b", "first_step": 20, "count": 1, "last_step": 20},
    ]
    table = pd.DataFrame({"run": ["r", "s", "t"], "gaps": [json.dumps(gaps), None, "[]"]})
    assert [(notice.run, notice.text) for notice in warned(table)] == [
        ("r", "parameters: in no optimizer: b"),
        ("r", "rank of layer a and 1 more could not be recorded, first at step 20: ValueError: no"),
    ]


def test_runs_that_share_a_notice_share_a_line() -> None:
    notices = [notice for name in "abcde" for notice in unchecked(run(1), EVERY)]
    (line,) = as_notes(notices).splitlines()
    assert line.startswith("not checked, runs r, r, r and 2 more: 1 record: ")


@pytest.fixture
def short(make_store: Callable[..., Path]) -> Path:
    return make_store(norms=["bn"], records=1)


def test_every_place_that_shows_findings_shows_the_notices(short: Path) -> None:
    from rich.console import Console

    result = checked(short)
    (of_records, *_) = [notice for notice in result.notices if notice.text.startswith("1 record: ")]
    pd.testing.assert_frame_equal(result.findings, findings(short))
    assert counted(result.findings, result.notices).endswith("1 run not checked for every kind")
    told_json = json.loads(as_json_text(result.findings, result.notices))["notices"]
    assert {"run": "bn-s0", "source": "unchecked", "text": of_records.text, "kinds": [*of_records.kinds]} in told_json
    assert of_records.text in [notice["text"] for notice in report_data(short)["notices"]]
    console = Console(record=True, width=400)
    console.print(view(short, column="stable_rank"))
    assert of_records.text in console.export_text()
