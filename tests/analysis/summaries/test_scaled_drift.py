"""Drift in units of the tensor's deviation, against the formula written out."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from analysis.summaries.scaled_drift import drift_speed, scaled_drift, with_scaled_drift


def rows(
    means: list[float], variances: list[float], steps: list[int], *, run: str = "a", layer: str = "x"
) -> pd.DataFrame:
    table = {"run": run, "layer": layer, "step": steps, "activation_mean": means, "activation_var": variances}
    return pd.DataFrame(table)


def test_drift_is_signed_and_in_deviations_of_the_same_record() -> None:
    table = rows([1.0, 0.0, 4.0], [1.0, 4.0, 9.0], [0, 10, 30])
    assert scaled_drift(table).tolist() == [0.0, -0.5, 1.0]
    assert scaled_drift(table).name == "activation_scaled_drift"


def test_speed_is_per_step_since_the_record_before() -> None:
    found = drift_speed(rows([1.0, 0.0, 4.0], [1.0, 4.0, 9.0], [0, 10, 30]))
    np.testing.assert_allclose(found, [np.nan, 1 / 10 / 2, 4 / 20 / 3])


def test_runs_and_layers_are_kept_apart_and_rows_may_come_in_any_order(rng: np.random.Generator) -> None:
    parts = [
        rows(list(rng.normal(size=4)), list(rng.uniform(1, 2, size=4)), [0, 5, 7, 20], run=run, layer=layer)
        for run in "ab"
        for layer in "xy"
    ]
    table = pd.concat(parts, ignore_index=True)
    shuffled = table.sample(frac=1, random_state=0)
    for measure in (scaled_drift, drift_speed):
        expected = pd.concat([measure(part) for part in parts], ignore_index=True)
        pd.testing.assert_series_equal(measure(shuffled).sort_index(), expected)


def test_drift_does_not_change_with_the_scale_of_the_tensor(rng: np.random.Generator) -> None:
    means, variances = rng.normal(size=5), rng.uniform(1, 2, size=5)
    one = rows(list(means), list(variances), list(range(5)))
    scaled = rows(list(1000 * means), list(1e6 * variances), list(range(5)))
    np.testing.assert_allclose(scaled_drift(one), scaled_drift(scaled))
    np.testing.assert_allclose(drift_speed(one), drift_speed(scaled))


def test_a_nan_shows_and_a_constant_tensor_has_no_scale() -> None:
    found = scaled_drift(rows([1.0, np.nan, 1.0, 2.0], [1.0, 1.0, 0.0, 0.0], [0, 1, 2, 3]))
    np.testing.assert_array_equal(found, [0.0, np.nan, np.nan, np.inf])
    assert scaled_drift(rows([np.nan, 1.0], [1.0, 1.0], [0, 1])).isna().all()


def test_every_tensor_of_a_table_gets_its_columns() -> None:
    table = rows([1.0, 3.0], [1.0, 4.0], [0, 4]).assign(weight_mean=[0.5, 0.25], weight_var=[1.0, 0.25])
    found = with_scaled_drift(table)
    assert found["activation_scaled_drift"].tolist() == [0.0, 1.0]
    assert found["weight_scaled_drift"].tolist() == [0.0, -0.5]
    assert found["weight_drift_speed"].tolist()[1] == 0.125
    assert "weight_scaled_drift" not in table


def test_missing_columns_are_named() -> None:
    table = rows([1.0], [1.0], [0])
    with pytest.raises(ValueError, match="no column weight_mean, weight_var"):
        scaled_drift(table, tensor="weight")
    with pytest.raises(ValueError, match="no column activation_mean, weight_mean"):
        with_scaled_drift(table.drop(columns="activation_mean"))
