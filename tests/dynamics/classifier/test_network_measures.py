"""Bracket, complexity and landscape along a run: in the store, described, and bitwise silent to the training."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch

from dynamics.classifier.config import RunConfig
from dynamics.classifier.config_sources import stored_config
from dynamics.classifier.measures import network_measures
from dynamics.classifier.run import run
from dynamics.runtime.checkpoint import checkpoint_path
from probes.schema import NETWORK_COLUMNS

LANDSCAPE = [column.name for column in NETWORK_COLUMNS if column.tensor == "one batch in training mode"]
BRACKET = [
    column.name for column in NETWORK_COLUMNS if column.name not in {*LANDSCAPE, "spectral_complexity", "margin_bound"}
]
ON = {"bracket_every": 1, "landscape_every": 1}
OFF = {"bracket_every": 0, "landscape_every": 0}


@pytest.fixture
def config(tiny_data: str) -> RunConfig:
    """Return a run of two epochs of four steps with everything measured."""
    return RunConfig(norm="msn", data=tiny_data, batch_size=16, epochs=2, every=2, augmentation="crop-flip", **ON)


def table(store: Path, name: str, run_id: str) -> pd.DataFrame:
    rows = pd.read_parquet(store / name / f"run={run_id}").drop(columns=["seconds"], errors="ignore")
    return rows.sort_values([key for key in ("step", "split", "layer_index", "tensor") if key in rows], kind="stable")


def rows_of_tests(store: Path, run_id: str) -> pd.DataFrame:
    rows = table(store, "steps", run_id)
    return rows[rows["split"] == "test"]


@pytest.mark.parametrize(("norm", "definition"), [("bn", "paper"), ("msn", "paper"), ("msn", "released")])
def test_measuring_changes_no_bit_of_the_training(
    config: RunConfig, norm: str, definition: str, tmp_path: Path
) -> None:
    measured = replace(config, norm=norm, definition=definition)
    run(measured, store=tmp_path, name="measured")
    run(replace(measured, **OFF), store=tmp_path, name="bare")
    one, other = (torch.load(checkpoint_path(tmp_path, name), weights_only=True) for name in ("measured", "bare"))
    for part in ("model", "optimizer", "random"):
        assert leaves(one[part]) == leaves(other[part])
    for name in ("layers", "histograms", "spectra", "steps"):
        bare = table(tmp_path, name, "bare").dropna(axis=1, how="all")  # columns that it did not measure are null
        found = table(tmp_path, name, "measured")[list(bare.columns)]
        pd.testing.assert_frame_equal(found.reset_index(drop=True), bare.reset_index(drop=True), check_exact=True)


def leaves(value: object) -> list[object]:
    """Return all values of a nested state, tensors as their bytes."""
    if isinstance(value, dict):
        return [leaf for key in value for leaf in (key, *leaves(value[key]))]
    if isinstance(value, list):
        return [leaf for one in value for leaf in leaves(one)]
    return [value.numpy().tobytes() if isinstance(value, torch.Tensor) else value]


@pytest.mark.parametrize("norm", ["none", "bn", "sn", "msn", "wn", "sn_beta"])
def test_at_every_record_the_measured_stretch_is_at_most_the_bound(
    config: RunConfig, norm: str, tmp_path: Path
) -> None:
    run(replace(config, norm=norm, landscape_every=0), store=tmp_path, name="run")
    rows = rows_of_tests(tmp_path, "run")
    assert len(rows) == 2
    assert (rows["jacobian_norm"] > 0).all()
    assert (rows["jacobian_norm"] <= rows["lipschitz_bound"]).all()
    assert (rows["margin_gradient_norm"] <= np.sqrt(2) * rows["lipschitz_bound"]).all()
    assert rows[["spectral_complexity", "margin_bound"]].notna().all(axis=None)


def test_every_column_is_there_and_explains_itself(config: RunConfig, tmp_path: Path) -> None:
    run(config, store=tmp_path, name="run")
    rows = rows_of_tests(tmp_path, "run")
    names = [column.name for column in NETWORK_COLUMNS]
    assert rows[names].notna().all(axis=None)
    schema = pq.read_schema(next((tmp_path / "steps" / "run=run").glob("*.parquet")))
    for column in NETWORK_COLUMNS:
        described = {key.decode(): value.decode() for key, value in schema.field(column.name).metadata.items()}
        assert described["formula"] == column.formula
        assert described["unit"] == "1"
    train = table(tmp_path, "steps", "run").query("split == 'train'")
    assert train[names].isna().all(axis=None)


def test_each_is_measured_at_its_own_schedule(config: RunConfig, tmp_path: Path) -> None:
    run(replace(config, epochs=3, bracket_every=2, landscape_every=3), store=tmp_path, name="run")
    rows = rows_of_tests(tmp_path, "run")
    assert rows["margin_bound"].notna().tolist() == [True, True, True]
    assert rows[BRACKET].notna().all(axis=1).tolist() == [False, True, False]
    assert rows[LANDSCAPE].notna().all(axis=1).tolist() == [False, False, True]


def test_a_network_without_a_bound_has_nulls_and_says_why_in_its_row(config: RunConfig, tmp_path: Path) -> None:
    run(replace(config, norm="ln"), store=tmp_path, name="run")
    rows = rows_of_tests(tmp_path, "run")
    unknown = ["lipschitz_bound", "unfolded_product", "spectral_complexity", "margin_bound"]
    assert rows[unknown].isna().all(axis=None)
    assert (rows["jacobian_norm"] > 0).all()
    stored = pd.read_parquet(tmp_path / "runs" / "run=run")
    why = json.loads(stored["config"].iloc[0])["not_measured"]
    assert "spectral_complexity: CNN3 is not a chain of layers: 'features.block1.norm', a GroupNorm" in why
    assert "lipschitz_bound: no bound known for 'features.block1.norm', a GroupNorm" in why
    assert stored_config(tmp_path, "run") == replace(config, norm="ln")


def test_a_measurement_that_fails_is_warned_of_and_training_goes_on(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> dict[str, float]:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(network_measures, "lipschitz_bracket", fail)
    once = replace(config, epochs=1)
    with pytest.warns(RuntimeWarning, match=r"failed after epoch 0: RuntimeError: out of memory. Training goes on"):
        ended = run(once, store=tmp_path, name="run")
    assert ended.steps == 4
    rows = rows_of_tests(tmp_path, "run")
    assert rows["jacobian_norm"].isna().all()
    assert rows[LANDSCAPE].notna().all(axis=None)


def test_a_resumed_run_measures_what_a_run_never_stopped_does(config: RunConfig, tmp_path: Path) -> None:
    config = replace(config, landscape_every=2)
    run(config, store=tmp_path, name="whole")
    run(replace(config, epochs=1), store=tmp_path, name="parted")
    run(config, store=tmp_path, name="parted", resume=True)
    whole, parted = (rows_of_tests(tmp_path, name).reset_index(drop=True) for name in ("whole", "parted"))
    pd.testing.assert_frame_equal(whole, parted, check_exact=True)


def test_vgg7_with_batch_norm_has_all(tmp_path: Path) -> None:
    arrays = {}
    draw = np.random.default_rng(0)
    for split, count in (("train", 8), ("test", 4)):
        arrays[f"{split}_images"] = draw.integers(0, 255, (count, 32, 32), dtype=np.uint8)
        arrays[f"{split}_labels"] = np.arange(count) % 2
    np.savez(tmp_path / "small.npz", **arrays)
    config = RunConfig(model="vgg7", norm="bn", data=f"npz:{tmp_path / 'small.npz'}", batch_size=4, epochs=1)
    run(config, store=tmp_path, name="vgg7")
    rows = rows_of_tests(tmp_path, "vgg7")
    assert (rows["jacobian_norm"] <= rows["lipschitz_bound"]).all()
    assert (rows["spectral_complexity"] > 0).all()
