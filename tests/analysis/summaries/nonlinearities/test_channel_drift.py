"""Drift of what nonlinearities see, against plain formulas."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from analysis import channel_drift

RNG = np.random.default_rng(0)
STEPS, CHANNELS = (0, 50, 100), 5
NUMBERS = {name: RNG.normal(size=(3, CHANNELS)) for name in ("mean", "shift", "maximum", "input_mean", "running_mean")}
NUMBERS |= {name: RNG.uniform(0.5, 2, size=(3, CHANNELS)) for name in ("deviation", "input_deviation")}
NUMBERS["positive_fraction"] = RNG.uniform(size=(3, CHANNELS))


def table(**changed: np.ndarray) -> pd.DataFrame:
    keys = pd.MultiIndex.from_product([STEPS, range(CHANNELS)], names=["step", "channel"]).to_frame(index=False)
    named = {"run": "a", "layer": "norm", "layer_index": 1, "layer_type": "BatchNorm2d", "nonlinearity": "relu"}
    return keys.assign(**named, **{name: values.ravel() for name, values in (NUMBERS | changed).items()})


def rms(values: np.ndarray) -> np.ndarray:
    return np.sqrt(np.mean(values**2, axis=1))


@pytest.mark.parametrize(("since", "first"), [(0, 0), (1, 1), (50, 1)])
def test_each_measure_is_its_formula(since: int, first: int) -> None:
    found = channel_drift(table().sample(frac=1, random_state=0), since=since)
    assert found["step"].tolist() == list(STEPS)
    mean, unlearned, sigma = NUMBERS["mean"], NUMBERS["mean"] - NUMBERS["shift"], rms(NUMBERS["deviation"])
    before = np.where(np.arange(3) < first, np.nan, 1.0)
    np.testing.assert_allclose(found["seen_drift"], before * rms(mean - mean[first]) / sigma)
    np.testing.assert_allclose(found["unlearned_drift"], before * rms(unlearned - unlearned[first]) / sigma)
    np.testing.assert_allclose(found["unlearned_mean"], rms(unlearned) / sigma)
    gap = rms(NUMBERS["input_mean"] - NUMBERS["running_mean"]) / rms(NUMBERS["input_deviation"])
    np.testing.assert_allclose(found["running_gap"], gap)
    np.testing.assert_allclose(found["dead_share"], (NUMBERS["maximum"] <= 0).mean(1))
    np.testing.assert_allclose(found["positive_share"], NUMBERS["positive_fraction"].mean(1))


def test_a_layer_without_shift_and_running_mean_has_no_gap() -> None:
    nothing = np.full((3, CHANNELS), np.nan)
    found = channel_drift(table(shift=nothing, running_mean=nothing, input_mean=nothing, input_deviation=nothing))
    assert found["running_gap"].isna().all()
    np.testing.assert_allclose(found["seen_drift"], found["unlearned_drift"])


def test_a_channel_that_is_nan_makes_its_layer_nan() -> None:
    maximum, mean = NUMBERS["maximum"].copy(), NUMBERS["mean"].copy()
    maximum[1, 2] = mean[1, 2] = np.nan
    found = channel_drift(table(maximum=maximum, mean=mean))
    assert found["dead_share"].isna().tolist() == found["seen_drift"].isna().tolist() == [False, True, False]


def test_an_empty_table_gives_an_empty_one() -> None:
    assert channel_drift(table().iloc[:0]).empty


def test_a_missing_column_is_named() -> None:
    with pytest.raises(ValueError, match="no column shift"):
        channel_drift(table().drop(columns="shift"))
