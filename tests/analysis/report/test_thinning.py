from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.report.thinning import kept_records, points_a_line

NEVER = np.zeros(1000, dtype=bool)


def kept(
    values: np.ndarray, *, most: int = 50, always: np.ndarray | None = None, measured: np.ndarray | None = None
) -> np.ndarray:
    records = len(values)
    measured = np.ones(values.shape, dtype=bool) if measured is None else measured
    return kept_records(values, measured, most=most, always=np.zeros(records, bool) if always is None else always)


def test_few_records_all_stay(rng: np.random.Generator) -> None:
    assert kept(rng.normal(size=(50, 3))).all()


def test_many_records_leave_about_fifty_with_ends_and_extremes(rng: np.random.Generator) -> None:
    values = rng.normal(size=(1000, 4))
    stay = kept(values)
    assert (stay.sum(axis=0) <= 50).all()
    assert (stay.sum(axis=0) > 40).all()
    assert stay[[0, -1]].all()
    for line in range(4):
        assert stay[values[:, line].argmax(), line]
        assert stay[values[:, line].argmin(), line]


def test_a_spike_of_one_record_stays() -> None:
    values = np.zeros((10_000, 1))
    values[7_777] = 5.0
    assert kept(values)[7_777, 0]


@given(st.sets(st.integers(0, 999), min_size=1, max_size=40))
def test_whatever_is_not_finite_shows_in_its_stretch(broken: set[int]) -> None:
    values = np.sin(np.arange(1000.0))[:, None]
    values[sorted(broken)] = np.nan
    stay = kept(values)[:, 0]
    assert stay[min(broken)]
    assert stay[max(broken)]
    for stretch in np.array_split(np.arange(1000), 24):
        assert np.isnan(values[stretch][stay[stretch]]).any() == np.isnan(values[stretch]).any()


def test_steps_of_findings_stay(rng: np.random.Generator) -> None:
    always = NEVER.copy()
    always[[123, 500]] = True
    assert kept(rng.normal(size=(1000, 2)), always=always)[[123, 500]].all()


def test_what_was_not_measured_never_stays(rng: np.random.Generator) -> None:
    measured = rng.random((1000, 3)) < 0.3
    values = np.where(measured, rng.normal(size=(1000, 3)), np.nan)
    stay = kept(values, measured=measured, always=np.ones(1000, bool))
    assert not (stay & ~measured).any()
    assert (stay.sum(axis=0) == measured.sum(axis=0)).all()


def test_a_line_without_values_is_empty() -> None:
    measured = np.ones((1000, 2), dtype=bool)
    measured[:, 1] = False
    assert kept(np.zeros((1000, 2)), measured=measured)[:, 1].sum() == 0


@pytest.mark.parametrize(("lines", "points"), [(1, 400), (2_500, 320), (48_000, 50), (0, 400)])
def test_points_follow_from_the_number_of_lines(lines: int, points: int) -> None:
    assert points_a_line(lines, budget=800_000, most=400) == points
