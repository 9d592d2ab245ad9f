from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from analysis.summaries.transforms import block_means, compare, drift, last_record, over_runs, require, smooth, smoothed


def table(values: list[float], *, run: str = "a", layer: str = "x", arm: str = "A") -> pd.DataFrame:
    count = len(values)
    return pd.DataFrame(
        {
            "run": run,
            "layer": layer,
            "layer_index": 0,
            "step": np.arange(count) * 10,
            "arm": arm,
            "norm": "bn",
            "arm_order": 0,
            "weight_mean": np.array(values, "float32"),
        }
    )


def test_drift_is_the_distance_from_the_first_record_of_each_run_and_layer(rng: np.random.Generator) -> None:
    parts = [table(list(rng.normal(size=5)), run=run, layer=layer) for run in "ab" for layer in "xy"]
    rows = pd.concat(parts, ignore_index=True).sample(frac=1, random_state=0)
    expected = pd.Series(0.0, rows.index)
    for _, group in rows.groupby(["run", "layer"]):
        start = float(group.loc[group["step"].idxmin(), "weight_mean"])
        expected[group.index] = group["weight_mean"].astype(float) - start
    pd.testing.assert_series_equal(drift(rows), expected, check_names=False)


def test_drift_from_nan_is_nan_and_through_nan_goes_on() -> None:
    assert drift(table([np.nan, 1.0])).isna().all()
    assert drift(table([1.0, np.nan, 3.0])).tolist()[::2] == [0.0, 2.0]


def test_drift_leaves_its_argument_alone() -> None:
    rows = table([1.0, 2.0])
    before = rows.copy()
    drift(rows)
    pd.testing.assert_frame_equal(rows, before)


def test_drift_of_a_missing_column_raises() -> None:
    with pytest.raises(ValueError, match="the table has no column grad_mean; it has: run, layer"):
        drift(table([1.0]), column="grad_mean")


def test_a_window_of_one_changes_nothing() -> None:
    rows = table([1.0, np.nan, 3.0])
    pd.testing.assert_series_equal(smooth(rows, column="weight_mean", window=1, by=["run"]), rows["weight_mean"])


def test_smoothing_equals_a_naive_trailing_mean(rng: np.random.Generator) -> None:
    values = list(rng.normal(size=20))
    got = smooth(table(values), column="weight_mean", window=6, by=["run", "layer"])
    single = np.array(values, "float32").astype(float)
    naive = [single[max(0, i - 5) : i + 1].mean() for i in range(20)]
    np.testing.assert_allclose(got, naive, rtol=1e-12)


def test_smoothing_spreads_nan_over_its_window_and_no_further() -> None:
    got = smooth(table([1.0, np.nan, 1.0, 1.0, 1.0]), column="weight_mean", window=2, by=["run"])
    assert np.isnan(got).tolist() == [False, True, True, False, False]


def test_smoothing_does_not_reach_over_runs() -> None:
    rows = pd.concat([table([0.0, 0.0]), table([8.0, 8.0], run="b")], ignore_index=True)
    assert smoothed(rows, "weight_mean", window=2).groupby("run")["weight_mean"].max().to_dict() == {"a": 0.0, "b": 8.0}


def test_a_window_below_one_raises() -> None:
    with pytest.raises(ValueError, match="smoothing window 0: expected at least 1 record"):
        smooth(table([1.0]), column="weight_mean", window=0, by=["run"])


def test_over_runs_is_mean_and_sample_deviation() -> None:
    rows = pd.concat([table([1.0], run="a"), table([2.0], run="b"), table([6.0], run="c")])
    (row,) = over_runs(rows, column="weight_mean").to_dict("records")
    assert (row["mean"], row["runs"], row["nan_runs"]) == (3.0, 3, 0)
    assert row["spread"] == pytest.approx(np.std([1, 2, 6], ddof=1))


def test_one_run_has_no_spread() -> None:
    assert over_runs(table([1.0, 2.0]), column="weight_mean")["spread"].tolist() == [0.0, 0.0]


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_a_run_that_diverges_is_not_averaged_away(broken: float) -> None:
    rows = pd.concat([table([1.0, 5.0], run="a"), table([3.0, broken], run="b")])
    got = over_runs(rows, column="weight_mean")
    assert got["mean"].tolist()[0] == 2.0
    assert np.isnan(got["mean"][1])
    assert np.isnan(got["spread"][1])
    assert got["survivors"].tolist() == [2.0, 5.0]
    assert got["nan_runs"].tolist() == [0, 1]


def test_runs_of_different_length_are_counted_step_by_step() -> None:
    rows = pd.concat([table([1.0, 1.0, 1.0], run="a"), table([3.0], run="b")])
    got = over_runs(rows, column="weight_mean")
    assert got["runs"].tolist() == [2, 1, 1]
    assert got["mean"].tolist() == [2.0, 1.0, 1.0]


def test_arms_are_never_averaged_together() -> None:
    rows = pd.concat([table([1.0]), table([9.0], run="b", arm="B").assign(arm_order=1)])
    assert over_runs(rows, column="weight_mean")["mean"].tolist() == [1.0, 9.0]


def test_last_record_is_each_runs_own() -> None:
    rows = pd.concat([table([1.0, 2.0, 3.0], run="a"), table([9.0], run="b")])
    assert last_record(rows).set_index("run")["step"].to_dict() == {"a": 20, "b": 0}


def test_compare_averages_the_last_records() -> None:
    rows = pd.concat([table([0.0, 2.0], run="a"), table([0.0, 4.0], run="b"), table([0.0, 9.0], run="c")])
    rows["norm"] = ["bn"] * 4 + ["sn"] * 2
    got = compare(rows)
    assert got["runs"].to_dict() == {"bn": 2, "sn": 1}
    assert got["weight_mean"].to_dict() == {"bn": 3.0, "sn": 9.0}


def test_compare_by_a_missing_setting_raises() -> None:
    with pytest.raises(ValueError, match="no column learning_rate"):
        compare(table([1.0]), by="learning_rate")


def test_require_names_each_missing_column_once() -> None:
    with pytest.raises(ValueError, match="no column p, q; it has: a"):
        require(pd.DataFrame({"a": []}), ["p", "a", "q", "p"])


def test_blocks_are_means_of_equal_numbers_of_records() -> None:
    means, size = block_means(table([1.0, 3.0, 5.0, 7.0, 9.0]), column="weight_mean", by=["run"], most=3)
    assert size == 2
    assert means["weight_mean"].tolist() == [2.0, 6.0, 9.0]
    assert means["step"].tolist() == [10, 30, 40]


def test_a_block_with_nan_is_nan_and_its_neighbours_are_not() -> None:
    means, _ = block_means(table([1.0, np.nan, 5.0, 7.0]), column="weight_mean", by=["run"], most=2)
    assert means["weight_mean"].isna().tolist() == [True, False]


def test_blocks_do_not_reach_over_runs_and_have_one_size() -> None:
    rows = pd.concat([table([1.0, 3.0, 5.0, 7.0], run="a"), table([8.0, 0.0, 2.0], run="b")], ignore_index=True)
    means, size = block_means(rows.sample(frac=1, random_state=1), column="weight_mean", by=["run"], most=2)
    assert size == 2
    assert means[means["run"] == "a"].sort_values("step")["weight_mean"].tolist() == [2.0, 6.0]
    assert means[means["run"] == "b"].sort_values("step")["weight_mean"].tolist() == [4.0, 2.0]


def test_a_short_series_is_left_as_it_is() -> None:
    rows = table([1.0, 2.0])
    means, size = block_means(rows, column="weight_mean", by=["run"], most=2)
    assert size == 1
    pd.testing.assert_frame_equal(means, rows)
    assert block_means(rows.iloc[:0], column="weight_mean", by=["run"], most=2)[1] == 1
