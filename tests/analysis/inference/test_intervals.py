"""Intervals, paired differences and power against scipy and against simulated truth."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.inference.arm_intervals import arm_intervals, mean_interval
from analysis.inference.paired_differences import detectable_difference, paired_differences


def scores(**arms: list[float]) -> pd.DataFrame:
    rows = [(arm, seed, False, value) for arm, values in arms.items() for seed, value in enumerate(values)]
    return pd.DataFrame(rows, columns=["arm", "seed", "diverged", "last_accuracy"])


def test_an_interval_is_the_t_interval_of_scipy(rng: np.random.Generator) -> None:
    values = rng.normal(0.8, 0.01, 5)
    expected = stats.t.interval(0.95, 4, loc=values.mean(), scale=stats.sem(values))
    assert mean_interval(values) == pytest.approx((values.mean(), *expected))


def test_intervals_hold_the_truth_as_often_as_they_say(rng: np.random.Generator) -> None:
    held = 0
    for values in rng.normal(0.5, 0.1, (1000, 3)):
        _, low, high = mean_interval(values)
        held += low <= 0.5 <= high
    assert 930 <= held <= 970  # three standard deviations of a binomial are 21


def test_one_value_has_no_interval_and_a_nan_shows() -> None:
    assert mean_interval([0.5])[0] == 0.5  # type: ignore[arg-type]
    assert np.isnan(mean_interval([0.5])[1:]).all()  # type: ignore[arg-type]
    assert np.isnan(mean_interval([0.5, math.nan])).all()  # type: ignore[arg-type]


def test_arms_are_ordered_by_their_mean_and_say_how_many_diverged() -> None:
    table = scores(sn=[0.7, 0.8], msn=[0.8, 0.9])
    table.loc[0, "diverged"] = True
    found = arm_intervals(table)
    assert found["arm"].tolist() == ["msn", "sn"]
    assert found["mean"].tolist() == pytest.approx([0.85, 0.75])
    assert found["diverged"].tolist() == [0, 1]
    assert found["sd"].tolist() == pytest.approx([0.05 * math.sqrt(2)] * 2)


def test_a_paired_difference_is_that_of_equal_seeds_whatever_the_seeds_do(rng: np.random.Generator) -> None:
    seed_effects, noise = rng.normal(0, 0.2, 4), rng.normal(0, 0.001, 4)
    table = scores(sn=list(0.7 + seed_effects), msn=list(0.72 + seed_effects + noise)).sample(frac=1, random_state=0)
    found = paired_differences(table, [("msn", "sn")]).iloc[0]
    expected = stats.ttest_rel(0.72 + seed_effects + noise, 0.7 + seed_effects)
    assert found["difference"] == pytest.approx(0.02 + noise.mean())
    assert found["p"] == pytest.approx(expected.pvalue)
    assert (found["low"], found["high"]) == pytest.approx(tuple(expected.confidence_interval(0.95)))


def test_seeds_that_one_arm_lacks_are_left_out() -> None:
    table = scores(sn=[0.7, 0.8, 0.1], msn=[0.8, 0.9])
    found = paired_differences(table, [("msn", "sn")]).iloc[0]
    assert (found["seeds"], found["difference"]) == (2, pytest.approx(0.1))


def test_holm_adjusts_for_all_pairs_of_the_table() -> None:
    table = scores(a=[0.10, 0.11, 0.12], b=[0.2, 0.22, 0.21], c=[0.1, 0.13, 0.10])
    found = paired_differences(table, [("b", "a"), ("c", "a")])
    small, large = sorted(found["p"])
    assert sorted(found["p_holm"]) == pytest.approx([min(2 * small, 1), max(min(2 * small, 1), large)])


def test_equal_runs_differ_by_nothing_and_single_seeds_have_no_test() -> None:
    found = paired_differences(scores(a=[0.1, 0.2], b=[0.1, 0.2], c=[0.5]), [("a", "b"), ("c", "a")])
    assert found["difference"].tolist() == pytest.approx([0, 0.4])
    assert found["p"].isna().all()


def test_an_arm_that_is_not_there_is_told() -> None:
    with pytest.raises(ValueError, match="no arm msm: there are msn, sn"):
        paired_differences(scores(sn=[0.1], msn=[0.2]), [("msm", "sn")])


def test_the_detectable_difference_is_found_with_the_power_it_says(rng: np.random.Generator) -> None:
    difference = detectable_difference(0.01, seeds=3)
    assert difference > 3 * 0.01  # three seeds see little
    draws = rng.normal(difference, 0.01, (2000, 3))
    found = (stats.ttest_1samp(draws, 0, axis=1).pvalue < 0.05).mean()
    assert found == pytest.approx(0.8, abs=0.03)
    assert math.isnan(detectable_difference(0.01, seeds=1))
