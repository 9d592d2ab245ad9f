"""Table ``channels`` in the store: readers, keepers and the price of its passes."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import meandrift as md
from probes import Probe
from probes.measuring.pricing import PASS_SHARE, PassSchedule, pass_price
from probes.storage.compaction import compact_run
from probes.storage.export import export
from probes.storage.files import open_store
from probes.storage.verify import verify


@pytest.fixture
def recorded(store):
    """Return a store of one run with three passes, in three parts."""
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2), nn.Tanh())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with Probe(model, optimizer, store=store, run="a", every={"channels": 1}, probe_batch=torch.randn(5, 3)) as probe:
        for _ in range(3):
            optimizer.zero_grad()
            model(torch.randn(5, 3)).sum().backward()
            optimizer.step()
            probe.flush()
    return store


def test_every_reader_finds_the_rows(recorded):
    rows = md.channels(recorded)
    assert rows[["step", "layer", "channel", "nonlinearity"]].to_numpy().tolist() == [
        [step, layer, channel, function]
        for step in range(3)
        for layer, count, function in (("0", 4, "relu"), ("2", 2, "tanh"))
        for channel in range(count)
    ]
    assert len(md.channels(recorded, layers="2", steps=(1, None), columns=["mean"])) == 4
    pytest.importorskip("duckdb")
    found = md.query(recorded, "SELECT layer, count(*) AS n, max(maximum) AS top FROM channels GROUP BY 1 ORDER BY 1")
    assert found["n"].tolist() == [12, 6]
    assert found["top"].max() == pytest.approx(rows["maximum"].max())


def test_the_rows_outlive_compaction_and_pass_verification(recorded, tmp_path):
    before, files = md.channels(recorded), open_store(recorded)
    assert verify(files).faults == []
    compact_run(files, "a")
    assert verify(files).faults == []
    pd.testing.assert_frame_equal(md.channels(recorded), before)
    export(files, tmp_path / "channels.csv", table="channels", kind="csv")
    written = pd.read_csv(tmp_path / "channels.csv")
    np.testing.assert_allclose(written["positive_fraction"], before["positive_fraction"], rtol=1e-6)


def test_the_log_of_a_living_run_has_them(store):
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with Probe(model, optimizer, store=store, run="a", every={"channels": 1}, probe_batch=torch.ones(2, 3)) as probe:
        model(torch.ones(2, 3)).sum().backward()
        optimizer.step()
        probe._run._writer.flush()  # to the log, not to a part
        assert not list((store / "channels").glob("run=a/*.parquet"))
        assert len(md.channels(store)) == 4


@pytest.mark.parametrize(("samples", "trained"), [(64, 64), (8, 64), (512, 64), (0, 64)])
def test_passes_take_their_share_of_training_and_no_more(samples, trained):
    notes = []
    schedule = PassSchedule(samples, 50, lambda **note: notes.append(note))
    shapes = {3: ((trained, 7), (trained, 7))}
    due = [step for step in range(0, 40_000, 50) if schedule.due(step, shapes)]
    assert due[0] == 0
    assert len(due) * pass_price(samples, shapes) / 40_000 <= PASS_SHARE * (1 + 1 / len(due))
    assert [note["interval"] for note in notes] == [due[1]]


def test_a_plain_schedule_is_priced_and_a_named_one_is_followed(store):
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU())
    optimizer, x = torch.optim.SGD(model.parameters(), lr=0.1), torch.ones(2, 3)
    for run, every in {"priced": 1, "named": {"channels": 2}, "schedule": lambda step: step in (1, 3)}.items():
        with Probe(model, optimizer, store=store, run=run, every=every, probe_batch=x):
            for _ in range(5):
                optimizer.zero_grad()
                model(x).sum().backward()
                optimizer.step()
    rows = md.channels(store)
    assert {run: sorted(set(own["step"])) for run, own in rows.groupby("run", observed=True)} == {
        "priced": [0],
        "named": [0, 2, 4],
        "schedule": [1, 3],
    }
    assert "probe batch" in md.runs(store, runs="priced")["gaps"].item()


def test_without_a_batch_no_table_is_made(store):
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with Probe(model, optimizer, store=store, run="a", every=1):
        model(torch.ones(2, 3)).sum().backward()
        optimizer.step()
    with pytest.raises(ValueError, match="has no table 'channels'"):
        md.channels(store)
