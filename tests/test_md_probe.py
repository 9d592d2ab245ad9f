"""``md.Probe``: grave findings in the loop's log, and the findings and figures of its run."""

from __future__ import annotations

import inspect
import logging
import pydoc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
import torch
from matplotlib.figure import Figure

import meandrift as md
import probes
from analysis.findings import findings as analysis_findings
from meandrift import live_findings
from meandrift.live_findings import LiveFindings
from probes.schema import unrecorded


def train(store: Path, *, nan_at: int | None = 6, steps: int = 12, **options: Any) -> md.Probe:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with md.Probe(model, optimizer, store=store, run="a", **{"every": 100, **options}) as probe:
        for step in range(steps):
            inputs = torch.randn(8, 3) * (float("nan") if step == nan_at else 1)
            loss = model(inputs).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            probe.log(loss=loss)
    return probe


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "runs"


def test_a_grave_finding_is_said_once_with_layer_step_cause_and_remedy(store: Path) -> None:
    said: list[str] = []
    train(store, warn=said.append)
    (text,) = said
    assert text.startswith("grave finding in run a: NaN: 0: ")
    assert "from step 6 (also in layer 2). Likely cause: " in text
    assert " Try: " in text


def test_the_logger_is_told_and_a_healthy_training_says_nothing(store: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="meandrift"):
        train(store, nan_at=None, warn=True)
        assert caplog.messages == []
        train(store, warn=True, overwrite=True)
    assert [record.name for record in caplog.records] == ["meandrift"]


def test_findings_and_figures_are_of_the_run(store: Path) -> None:
    probe = train(store, every=1)
    found = probe.findings()
    assert found["kind"].tolist() == ["NaN", "NaN"]
    assert found["from_step"].tolist() == [6, 6]
    assert isinstance(probe.plot("weight_mean"), Figure)
    with pytest.raises(ValueError, match="needs weight_men"):
        probe.plot("weight_men")


def test_it_says_what_it_is(store: Path) -> None:
    probe = train(store, steps=1, nan_at=None)
    assert repr(probe) == f"Probe of run 'a' in store {str(store)!r}: 2 layers, 1 step, 0 gaps and notes, closed"


def test_tables_are_printed_for_people_and_stay_dataframes(store: Path) -> None:
    train(store, nan_at=None, config={"rate": 0.1})
    unchecked = "not checked, run a: 1 record: 19 of 29 kinds of findings need more records"
    assert repr(md.findings(store)).startswith(unchecked)
    assert repr(md.findings(store)).endswith("\nno findings")
    assert md.findings(store)._repr_html_().startswith(f"<p>no findings</p><p>{unchecked}")
    train(store, overwrite=True, config={"rate": 0.1})
    found = md.findings(store)
    assert repr(found).startswith("grave: NaN in run a, layers 0 and 2, steps 6 to 7\n  seen:   ")
    assert repr(found).endswith("2 grave, 0 warnings, 0 notes; 1 run not checked for every kind")
    assert "<td" in found._repr_html_()
    assert type(found[["kind"]]) is pd.DataFrame
    pd.testing.assert_frame_equal(pd.DataFrame(found), analysis_findings(store))
    runs = md.runs(store)
    assert runs["rate"].tolist() == [0.1]
    assert repr(runs).split() == [
        "run",
        "status",
        "last_step",
        "device",
        "updated",
        "a",
        "finished",
        "11",
        "cpu",
        *f"{runs['updated'][0]:%Y-%m-%d %H:%M}".split(),
    ]


def batch(steps: list[int], **columns: list[float]) -> dict[str, pa.Table]:
    table = pa.table({"step": steps, "layer": ["a"] * len(steps), "layer_index": [0] * len(steps), **columns})
    return {"layers": table}


def test_rows_that_come_one_after_another_are_looked_at_together() -> None:
    said: list[str] = []
    live = LiveFindings(lambda: "r", said.append)
    for step in range(4):
        live(batch([step], grad_l2_norm=[1e-3 if step < 3 else 10.0]))
    live.look()
    assert [text.partition(": a:")[0] for text in said] == ["grave finding in run r: exploding"]


def test_columns_that_were_not_recorded_are_not_looked_at() -> None:
    said: list[str] = []
    rows = batch(list(range(6)), weight_mean=[1.0] * 6, grad_l2_norm=[None] * 6)["layers"]
    live = LiveFindings(lambda: "r", said.append)
    place = rows.schema.get_field_index("grad_l2_norm")
    hidden = rows.set_column(
        place, unrecorded(pa.field("grad_l2_norm", pa.float64())), rows["grad_l2_norm"].cast("double")
    )
    live({"layers": hidden})
    live.look()
    assert said == []


def test_the_middle_of_a_long_run_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_findings, "MOST_ROWS", 40)
    live = LiveFindings(lambda: "r", str)
    for step in range(200):
        live(batch([step], grad_l2_norm=[1.0]))
    kept = live._rows["layers"]["step"].to_pylist()
    assert len(kept) <= 40
    assert kept[:5] == [0, 1, 2, 3, 4]
    assert kept[-15:] == list(range(185, 200))


def test_a_live_figure_outside_of_a_notebook_is_refused_and_the_training_goes_on(store: Path) -> None:
    model = torch.nn.Linear(3, 2)
    with (
        md.Probe(model, torch.optim.SGD(model.parameters(), lr=0.1), store=store) as probe,
        pytest.raises(ValueError, match="draws in a cell of a notebook, and this process is not a notebook"),
    ):
        probe.plot("weight_mean", live=True)


def test_a_probe_that_is_off_has_no_findings_and_an_empty_figure(store: Path) -> None:
    probe = md.Probe(torch.nn.Linear(3, 2), store=store, enabled=False)
    assert probe.findings().empty
    assert probe.plot("weight_mean", live=True).axes == []
    assert probe._repr_html_() == "<p>SwitchedOffProbe()</p>"
    assert not store.exists()


def test_findings_that_fail_end_no_training(
    store: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("no memory")

    monkeypatch.setattr(live_findings, "findings_in", broken)
    with pytest.warns(RuntimeWarning, match="observer LiveFindings could not be recorded"):
        probe = train(store, warn=True)
    assert probe.findings()["kind"].tolist() == ["NaN", "NaN"]


def test_help_names_every_argument_that_a_probe_takes() -> None:
    shown = list(inspect.signature(md.Probe).parameters)
    taken = {name for name in inspect.signature(probes.Probe).parameters if not name.startswith("_")}
    assert set(shown) == {*taken, "warn"}
    assert shown[:2] == ["model", "optimizer"]
    assert "every: " in pydoc.render_doc(md.Probe)


def test_other_observers_are_served_beside_it(store: Path) -> None:
    seen: list[Any] = []
    observe: Callable[[Any], None] = seen.append
    train(store, warn=print, nan_at=None, observers=[observe])
    assert {name for block in seen for name in block} >= {"layers", "steps"}
