"""The learning rate of each norm: the rate of the grid with the lowest final test loss at seed 0."""

import math
from pathlib import Path

import pandas as pd

from analysis.reading.run_table import runs

NORMS = ("ln", "sn", "msn", "wn")
RATES = (0.003, 0.001, 0.01)  # the middle rate first, so that a sweep that is stopped early has all norms at one rate
BITS, ACCURACY = "bits_per_character", "accuracy"
COLUMNS = ["run", "norm", "learning_rate", "seed", BITS, ACCURACY]


def final_tests(store: Path) -> pd.DataFrame:
    """Return one row for each finished run: ``run``, ``norm``, ``learning_rate``, ``seed`` and its last test's numbers.

    A run that diverged has a row with NaN. Without a store there are no rows.
    """
    if not (store / "runs").is_dir():
        return pd.DataFrame(columns=COLUMNS)
    settings = runs(store)
    settings = settings[settings["status"] == "finished"]
    steps = pd.read_parquet(store / "steps", filters=[("split", "==", "test")]).astype({"run": str})
    last = steps.sort_values("step").drop_duplicates("run", keep="last")
    return settings.astype({"run": str}).merge(last[["run", BITS, ACCURACY]], on="run")[COLUMNS]


def grid(tests: pd.DataFrame) -> pd.Series:
    """Return the bits per character of the runs of seed 0, by norm and rate."""
    return tests[tests["seed"] == 0].set_index(["norm", "learning_rate"])[BITS].sort_index()


def best_rates(tests: pd.DataFrame) -> dict[str, float]:
    """Return each norm's best rate. The rate of a run that diverged (NaN) is never the best.

    Args:
        tests: :func:`final_tests`.

    Raises:
        ValueError: A run of the grid is missing.
    """
    found = grid(tests)
    if missing := [f"{norm} at {rate:g}" for norm in NORMS for rate in RATES if (norm, rate) not in found.index]:
        raise ValueError(f"no finished run of seed 0 with {', '.join(missing)}: train the grid first.")
    return {norm: min(RATES, key=lambda rate: _at_worst(found[norm, rate])) for norm in NORMS}


def chosen(tests: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of each norm at its best rate, for all seeds."""
    rates = best_rates(tests)
    return tests[tests["learning_rate"] == tests["norm"].map(rates)]


def _at_worst(loss: float) -> float:
    return loss if math.isfinite(loss) else math.inf
