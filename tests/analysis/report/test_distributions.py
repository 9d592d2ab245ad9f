from __future__ import annotations

import base64
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.reading.store import Store
from analysis.report.distributions import BINS, Extent, distributions, layers_with
from probes.schema import HISTOGRAMS, SPECTRA

RUNS = ["bn-s0", "msn-s0", "sn-s0"]


def numbers(item: dict) -> np.ndarray:
    """Return the values of an item, ``(runs and steps, bins or ranks)``."""
    shape = len(item["runs"]), len(item["x"])
    planes = np.frombuffer(zlib.decompress(base64.b64decode(item["y"])), np.uint8).reshape(4, -1)
    return np.ascontiguousarray(planes.T).view("<f4").reshape(shape)


def test_densities_integrate_to_nearly_one(small_store: Path) -> None:
    [item] = [item for item in distributions(Store(small_store), HISTOGRAMS, RUNS) if item["layer"] == "classifier"]
    width = item["x"][1] - item["x"][0]
    assert len(item["x"]) == BINS
    assert ((numbers(item).sum(axis=1) * width > 0.99) & (numbers(item).sum(axis=1) * width < 1.005)).all()
    assert item["kind"] == "gradient"


def test_a_spectrum_is_the_recorded_one_by_rank(small_store: Path) -> None:
    [item] = [item for item in distributions(Store(small_store), SPECTRA, RUNS) if item["layer"] == "block2.conv"]
    rows = pd.read_parquet(small_store / "spectra").astype({"run": str, "layer": str})
    mine = rows[(rows["layer"] == "block2.conv") & (rows["run"] == "sn-s0")].sort_values("step")
    places = [i for i, run in enumerate(item["runs"]) if run == "sn-s0"]
    assert [item["steps"][i] for i in places] == mine["step"].tolist()
    for i, stored in zip(places, mine["singular_values"], strict=True):
        np.testing.assert_allclose(numbers(item)[i], stored[np.array(item["x"]) - 1], rtol=4e-3)


def test_layers_of_findings_come_first_and_others_are_spread(deep_store: Path) -> None:
    extent = Extent(layers=4, steps=3, runs=1)
    found = distributions(Store(deep_store), HISTOGRAMS, RUNS[:2], first=["block2.3.conv1", "gone"], extent=extent)
    layers = [item["layer"] for item in found]
    assert len(layers) == 4
    assert "block2.3.conv1" in layers
    assert {"stem", "classifier"} <= set(layers)
    assert {run for item in found for run in item["runs"]} == {"bn-s0"}
    assert all(len(set(item["steps"])) == 3 for item in found)


def test_broken_entries_are_told_beside_the_density(make_store: Callable[..., Path]) -> None:
    store = make_store(norms=["sn"], records=8, nan_from={"sn-s0": 4})
    [item] = [i for i in distributions(Store(store), HISTOGRAMS, ["sn-s0"]) if i["layer"] == "classifier"]
    assert dict(zip(item["steps"], item["nonfinite"], strict=True)) == {
        0: 0,
        100: 0,
        200: 1,
        300: 1,
    }


@pytest.mark.parametrize("table", [HISTOGRAMS, SPECTRA])
def test_a_store_without_them_has_none(make_store: Callable[..., Path], table: str) -> None:
    store = Store(make_store(norms=["bn"], records=2, without_tables=[HISTOGRAMS, SPECTRA]))
    assert distributions(store, table, ["bn-s0"]) == []
    assert layers_with(store, table, ["bn-s0"]) == []
