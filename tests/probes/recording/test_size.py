"""The size of a run: told before it, and kept below a limit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from probes import Probe, schema
from probes.gaps import Gaps
from probes.recording.size.thinning import Thinning
from probes.schedule import at, every, log_spaced, never, times_due
from probes.storage.files import open_store
from probes.storage.verify import verify

HISTOGRAMS = ["gradient_histogram", "weight_histogram", "activation_histogram"]
CHEAP = ["weights", "gradients", "activations", "updates"]


def network(layers: int = 5) -> nn.Module:
    return nn.Sequential(*(nn.Linear(8, 8) for _ in range(layers)))


def train(probe: Probe, model: nn.Module, optimizer: torch.optim.Optimizer, steps: int) -> None:
    for _ in range(steps):
        optimizer.zero_grad()
        model(torch.randn(4, 8)).square().mean().backward()
        optimizer.step()


def size(store: Path, *tables: str) -> int:
    return sum(part.stat().st_size for table in tables or schema.TABLES for part in (store / table).rglob("*.parquet"))


def test_the_size_that_is_told_is_that_of_the_run_within_a_factor_of_two(store):
    model = network()
    optimizer = torch.optim.Adam(model.parameters())
    with Probe(model, optimizer, store=store, run="a", every=1, metrics=CHEAP) as probe:
        train(probe, model, optimizer, 125)
    assert probe.bytes_per_1000_steps / 2 < 8 * size(store) < 2 * probe.bytes_per_1000_steps
    assert f"{probe.bytes_per_1000_steps / 1e6:.3g} MB in 1,000 steps" in repr(probe)
    [row] = open_store(store).open_part("runs", "a", "part-0.parquet").read().to_pylist()
    assert row["bytes_per_1000_steps"] == probe.bytes_per_1000_steps


def test_the_size_follows_the_schedule(store):
    sizes = []
    for n in (1, 10, 100):
        with Probe(network(), store=store, every=n, metrics=CHEAP) as probe:
            sizes.append(probe.bytes_per_1000_steps)
    assert sizes[0] == pytest.approx(10 * sizes[1], rel=1e-3)
    assert sizes[1] == pytest.approx(10 * sizes[2], rel=1e-2)


def test_a_schedule_of_ones_own_is_not_called_to_tell_the_size(store):
    asked = []

    def schedule(step: int) -> bool:
        asked.append(step)
        return step == 0

    with Probe(network(), store=store, every=schedule, metrics=["weight_moments"]) as probe:
        assert probe.bytes_per_1000_steps is None
        assert asked == [0]
        assert repr(probe) == f"Probe(run={probe.run!r}, 5 layers)"


def test_the_steps_of_known_schedules_are_counted():
    steps = range(1000)
    assert [times_due(s, steps) for s in (every(100), at([0, 5, 2000]), never)] == [10, 2, 0]
    assert times_due(log_spaced(per_decade=1), steps) == 4
    assert times_due({}.__contains__, steps) is None


def train_below(limit: int, model: nn.Module, optimizer: torch.optim.Optimizer, store: Path, **settings: Any) -> None:
    """Record 200 steps and some evaluations; look at the size of the store on the way."""
    with Probe(model, optimizer, store=store, run="a", max_bytes=limit, **settings) as probe:
        assert probe.bytes_per_1000_steps > 1.5 * limit
        for step in range(200):
            train(probe, model, optimizer, 1)
            if step % 20 == 19:
                probe.log(split="test", accuracy=0.5)
                probe.flush()
                assert size(store) < limit


def test_a_run_with_a_limit_stays_below_it_and_says_from_when_it_recorded_more_rarely(store):
    model, limit = network(layers=10), 1_000_000
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    dense = dict.fromkeys([*CHEAP, *HISTOGRAMS], 1)
    told = r"records \(first_step [0-9]+\): only one in [248] is kept: the run"
    with pytest.warns(RuntimeWarning, match=told):
        train_below(limit, model, optimizer, store, every=dense)
    files = open_store(store)
    assert verify(files).faults == []
    [row] = files.open_part("runs", "a", "part-0.parquet").read().to_pylist()
    first = next(gap["first_step"] for gap in json.loads(row["gaps"]) if "only one in" in gap["why"])
    steps = np.unique(pd.read_parquet(store / "layers")["step"])
    assert set(np.diff(steps[steps < first])) == {1}
    assert (np.diff(steps[steps > first]) >= 2).all()


def fill(thinning: Thinning, *, record: int, records: int) -> tuple[list[int], int]:
    """Write records of so many bytes each; return those kept, and the bytes of all."""
    kept: list[int] = []
    for step in range(records):
        if thinning.keeps_record(step, record * len(kept)):
            kept.append(step)
    return kept, record * len(kept)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("records", [100, 10_000, 100_000])
def test_a_run_of_any_length_fits_and_its_early_steps_are_the_densest(records):
    kept, nbytes = fill(Thinning(1_000_000, Gaps()), record=1000, records=records)
    assert nbytes <= 1_000_000
    distances = np.diff(kept)
    assert (np.diff(distances) >= 0).all()
    assert kept[-1] > 0.9 * records  # it never stops
    assert (kept == list(range(100))) == (records == 100)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_evaluations_are_kept_and_training_rows_follow_the_records():
    thinning = Thinning(1_000_000, Gaps())
    assert thinning.keeps_row({"split": "train", "step": 3})
    thinning.keeps_record(0, 500_000)
    assert thinning.factor == 4  # 1/2 + 1/30 of what is to be filled
    assert [thinning.keeps_row({"split": "train", "step": step}) for step in (3, 4, 8)] == [False, True, True]
    assert thinning.keeps_row({"split": "test", "step": 3})
    assert not thinning.keeps_record(1, 1_000_000)
    assert not thinning.keeps_row({"split": "train", "step": 4})


@pytest.mark.parametrize("limit", [0, 999_999, 1e6, True, "1 MB"])
def test_a_limit_that_no_run_could_keep_is_refused(limit, store):
    with pytest.raises(ValueError, match=r"expected a whole number of bytes, 1,000,000 or more"):
        Probe(nn.Linear(2, 2), store=store, max_bytes=limit)
    assert not store.exists()
