"""Observers see the rows of each record, in order and once, and nothing that they do reaches the training."""

from __future__ import annotations

import json
import threading
import warnings

import pytest
import torch
from torch import nn

from probes import Probe
from probes.recording.tables import observers as module


def train(store, *seen, steps=6, **options):
    model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with Probe(model, optimizer, store=store, run="a", observers=seen, **{"every": 2, **options}) as probe:
        for _ in range(steps):
            loss = model(torch.ones(4, 3)).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            probe.log(loss=loss)
    return model[0].weight.detach().clone()


def test_each_record_is_seen_once_with_all_its_tables(store, table):
    blocks = []
    train(store, blocks.append)
    rows = {
        name: [step for block in blocks if name in block for step in block[name]["step"].to_pylist()]
        for name in ("layers", "histograms", "parameters", "steps")
    }
    assert rows["layers"] == [0, 0, 2, 2, 4, 4]
    assert rows["steps"] == list(range(6))
    assert sorted(set(rows["histograms"])) == [0, 2, 4]
    first = next(block["layers"].to_pandas() for block in blocks if "layers" in block)
    stored = table("layers")
    assert first["weight_l2_norm"].iloc[0] == stored["weight_l2_norm"].iloc[0]
    assert first[["layer", "layer_type"]].to_numpy().tolist() == [["0", "Linear"], ["1", "Linear"]] * len(first[::2])


def test_they_run_in_a_thread_of_their_own_and_training_does_not_wait(store):
    gate, threads = threading.Event(), []

    def slow(_):
        gate.wait(10)
        threads.append(threading.current_thread())

    model = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with Probe(model, optimizer, store=store, run="a", every=1, observers=[slow]) as probe:
        for _ in range(5):
            model(torch.ones(4, 3)).sum().backward()
            optimizer.step()
        probe.flush()
        assert threads == []  # five steps and a flush later it still waits
        gate.set()
    assert threads
    assert threading.main_thread() not in threads


def test_one_that_raises_is_a_gap_and_the_others_see_all(store, table):
    seen = []

    def broken(_):
        raise RuntimeError("no connection")

    bare = train(store, overwrite=True)
    with pytest.warns(
        RuntimeWarning, match=r"observer .*broken could not be recorded at step \d+: RuntimeError: no conn"
    ):
        watched = train(store, broken, seen.append, overwrite=True)
    assert watched.shape == bare.shape
    assert seen
    (gap,) = [gap for gap in json.loads(table("runs")["gaps"].item()) if "broken" in gap["what"]]
    assert gap["why"] == "RuntimeError: no connection"
    assert table("runs")["status"].item() == "finished"


def test_one_that_never_returns_ends_no_training(store, monkeypatch):
    monkeypatch.setattr(module, "LAST_WAIT", 0.05)
    gate = threading.Event()
    with pytest.warns(RuntimeWarning, match="has not returned"):
        train(store, lambda _: gate.wait(20))
    gate.set()


def test_one_that_is_too_slow_loses_the_oldest_rows_and_says_so(store, monkeypatch, table):
    monkeypatch.setattr(module, "MOST_BYTES", 1)
    gate, seen = threading.Event(), []

    def slow(block):
        gate.wait(10)
        seen.append(block)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = nn.Linear(3, 2)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        with Probe(model, optimizer, store=store, run="a", every=1, observers=[slow]) as probe:
            for _ in range(4):
                model(torch.ones(4, 3)).sum().backward()
                optimizer.step()
                probe.flush()
            gate.set()
    assert "some rows were not shown" in table("runs")["gaps"].item()
    assert seen[-1]["steps"]["step"].to_pylist()[-1] == 3
