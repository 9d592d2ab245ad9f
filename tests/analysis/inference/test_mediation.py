"""The regressions against simulated truth: a known coefficient is recovered, no effect is covered as often as told."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from analysis.inference.mediation import between_arms, within_arms

MEDIATORS = ("drift", "scale")
Regression = Callable[..., pd.DataFrame]


def simulated(
    rng: np.random.Generator, *, between: float = 0.0, within: float = 0.0, arms: int = 16, seeds: int = 3
) -> pd.DataFrame:
    """Return runs whose accuracy follows the arm's drift by ``between`` and the run's own by ``within``."""
    arm_drift, arm_scale, arm_noise = rng.normal(0, 1, (3, arms))
    seed_effect = rng.normal(0, 0.5, seeds)
    rows = []
    for arm in range(arms):
        for seed in range(seeds):
            own = rng.normal(0, 0.3)
            accuracy = (
                between * arm_drift[arm] + within * own + 0.1 * arm_noise[arm] + seed_effect[seed] + rng.normal(0, 0.05)
            )
            rows.append((f"arm{arm}", seed, accuracy, arm_drift[arm] + own, arm_scale[arm] + rng.normal(0, 0.3)))
    return pd.DataFrame(rows, columns=["arm", "seed", "accuracy", *MEDIATORS])


def test_a_known_coefficient_is_recovered(rng: np.random.Generator) -> None:
    table = simulated(rng, between=-0.5, within=-0.5, arms=40)
    for regression in (between_arms, within_arms):
        found = regression(table, outcome="accuracy", mediators=MEDIATORS).set_index("mediator")
        drift = table["drift"]
        left = drift - drift.groupby(table["arm"]).transform("mean") - drift.groupby(table["seed"]).transform("mean")
        spread = table.groupby("arm")["drift"].mean().std() if regression is between_arms else left.std(ddof=42)
        assert found.loc["drift", "coefficient"] == pytest.approx(-0.5 * spread, rel=0.1)
        assert found.loc["drift", "high"] < 0
        assert abs(found.loc["scale", "coefficient"]) < 0.1 * abs(found.loc["drift", "coefficient"])


def test_the_fit_is_that_of_ordinary_least_squares(rng: np.random.Generator) -> None:
    table = simulated(rng, between=-0.5)
    means = table.groupby("arm")[["accuracy", *MEDIATORS]].mean()
    standardised = (means[list(MEDIATORS)] - means[list(MEDIATORS)].mean()) / means[list(MEDIATORS)].std()
    design = np.column_stack([np.ones(len(means)), standardised])
    coefficients, *_ = np.linalg.lstsq(design, means["accuracy"], rcond=None)
    found = between_arms(table, outcome="accuracy", mediators=MEDIATORS)
    np.testing.assert_allclose(found["coefficient"], coefficients[1:])
    assert found["freedom"].tolist() == [13, 13]


@pytest.mark.parametrize("draws", [80, pytest.param(1000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("regression", [between_arms, within_arms])
def test_no_effect_is_covered_as_often_as_the_interval_says(
    regression: Regression, draws: int, rng: np.random.Generator
) -> None:
    """Runs of one arm share its noise: as independent observations they would cover it too seldom."""
    held = 0
    for _ in range(draws):
        found = regression(simulated(rng, arms=8), outcome="accuracy", mediators=["drift"])
        held += int(found["low"].iloc[0] <= 0 <= found["high"].iloc[0])
    assert abs(held / draws - 0.95) <= 3 * np.sqrt(0.95 * 0.05 / draws)  # deviations of the binomial


def test_seeds_are_blocks(rng: np.random.Generator) -> None:
    table = simulated(rng, between=-0.5, within=-0.5)
    shifted = table.assign(
        accuracy=table["accuracy"] + 7.0 * (table["seed"] == 1), drift=table["drift"] + table["seed"]
    )
    for regression in (between_arms, within_arms):
        one, other = (regression(t, outcome="accuracy", mediators=MEDIATORS) for t in (table, shifted))
        np.testing.assert_allclose(one["coefficient"], other["coefficient"], rtol=1e-9)
        np.testing.assert_allclose(one["p"], other["p"], rtol=1e-6, atol=1e-12)


def test_mediators_that_move_together_are_inflated(rng: np.random.Generator) -> None:
    table = simulated(rng)
    table["twin"] = table["drift"] + rng.normal(0, 0.05, len(table))
    found = between_arms(table, outcome="accuracy", mediators=["drift", "twin"])
    correlation = table.groupby("arm")[["drift", "twin"]].mean().corr().iloc[0, 1]
    np.testing.assert_allclose(found["inflation"], 1 / (1 - correlation**2))
    assert found["inflation"].min() > 5


def test_arms_that_lack_a_seed_are_left_out(rng: np.random.Generator) -> None:
    table = simulated(rng)
    found = between_arms(table.drop(index=0), outcome="accuracy", mediators=MEDIATORS)
    assert found["observations"].tolist() == [15, 15]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"drift": np.nan}, "a value of arm0.* is not finite: leave these arms out"),
        ({"drift": 1.0}, "drift is the same in all rows: leave it out"),
    ],
)
def test_what_cannot_be_fitted_is_told(change: dict[str, float], message: str, rng: np.random.Generator) -> None:
    with pytest.raises(ValueError, match=message):
        between_arms(simulated(rng).assign(**change), outcome="accuracy", mediators=MEDIATORS)


def test_too_few_arms_are_told(rng: np.random.Generator) -> None:
    with pytest.raises(ValueError, match="3 rows, 2 mediators: expected one more arm or seed at least"):
        between_arms(simulated(rng, arms=3), outcome="accuracy", mediators=MEDIATORS)


def test_a_mediator_that_follows_from_the_others_is_told(rng: np.random.Generator) -> None:
    table = simulated(rng)
    with pytest.raises(ValueError, match="one of drift, twin follows from the others"):
        between_arms(table.assign(twin=table["drift"]), outcome="accuracy", mediators=["drift", "twin"])
