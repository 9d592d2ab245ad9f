from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.report.charts import CHARTS, charts, histograms, packed, thinned

RUNS = ["bn-s0", "msn-s0", "sn-s0"]


def unpacked(text: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), "<f4")


def by_name(store: Path, runs: list[str] = RUNS) -> dict[str, dict]:
    return {chart["name"]: chart for chart in charts(store, runs)[0]}


def test_numbers_survive_packing() -> None:
    values = np.array([0.0, -1.5, np.nan, np.inf], np.float32)
    np.testing.assert_array_equal(unpacked(packed(values)), values)


def test_the_series_are_the_recorded_column(small_store: Path) -> None:
    rows = pd.read_parquet(small_store / "layers").astype({"run": str, "layer": str})
    for line in by_name(small_store)["gradient_sparsity"]["series"]:
        mine = rows[(rows["run"] == line["run"]) & (rows["layer"] == line["layer"])].sort_values("step")
        np.testing.assert_array_equal(unpacked(line["x"]), mine["step"])
        np.testing.assert_array_equal(unpacked(line["y"]), mine["grad_sparsity"])


def test_drift_starts_at_zero(small_store: Path) -> None:
    assert all(unpacked(line["y"])[0] == 0 for line in by_name(small_store)["mean_drift"]["series"])


def test_steps_without_a_measurement_are_no_gaps(small_store: Path) -> None:
    for line in by_name(small_store)["operator_norm"]["series"]:
        assert np.isfinite(unpacked(line["y"])).all()
        np.testing.assert_array_equal(unpacked(line["x"]), np.arange(0, 2000, 250))


def test_columns_that_are_not_there_are_named(make_store: Callable[..., Path]) -> None:
    store = make_store(norms=["bn"], records=2, without_columns=["update_ratio"], without_tables=["steps"])
    drawn, absent = charts(store, ["bn-s0"])
    assert absent == ["accuracy", "loss", "update_ratio"]
    assert len(drawn) == len(CHARTS) - 3


@pytest.mark.parametrize("stride", [1, 2, 3, 7, 100])
def test_thinning_keeps_every_nan(stride: int, rng: np.random.Generator) -> None:
    values = rng.normal(size=50).astype("float32")
    values[[13, 14, 40]] = np.nan
    kept = thinned(values, stride)
    for place, value in enumerate(kept):
        share = values[place * stride : (place + 1) * stride]
        assert np.isnan(value) == np.isnan(share).any()
        assert np.isnan(value) or value == share[0]
    assert len(kept) == -(-50 // stride)


def test_thinning_nothing_gives_nothing() -> None:
    assert thinned(np.array([], "float32"), 3).size == 0


def test_a_page_of_many_layers_holds_fewer_records_a_line(deep_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("analysis.report.charts.FEWEST_RECORDS", 3)
    monkeypatch.setattr("analysis.report.charts.MOST_NUMBERS", 10_000)
    chart = by_name(deep_store, ["sn-s0"])["gradient_norm"]
    assert len(chart["series"]) == 100
    assert {len(unpacked(line["y"])) for line in chart["series"]} == {4}


def test_densities_integrate_to_nearly_one(small_store: Path) -> None:
    found = histograms(small_store, RUNS)
    layer = found["layers"]["classifier"]
    width = 2 * layer["halfWidth"] / found["bins"]
    for line in layer["series"]:
        assert 0.99 < unpacked(line["y"]).sum() * width <= 1.0 + 1e-6


def test_a_store_without_histograms_has_none(make_store: Callable[..., Path]) -> None:
    assert histograms(make_store(norms=["bn"], records=2, without_tables=["histograms"]), ["bn-s0"]) is None


def test_the_pandas_line_gives_the_series(small_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(small_store.parent)
    for chart in by_name(small_store).values():
        line = chart["pandas"].removesuffix(".plot()")
        wide = eval(line, {"pd": pd})  # it is our own page's line that is under test
        series = chart["series"][0]
        key = (series["layer"].removesuffix(" data"), series["run"])
        np.testing.assert_allclose(wide[key].dropna(), unpacked(series["y"]), rtol=1e-5, atol=1e-7)
