"""The scores of each run of an experiment: accuracy at equal steps and at the plateau, by arm and seed."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd

from analysis.reading.selection import Patterns
from analysis.reading.store import AnyStore, Store
from analysis.reading.tables import load, records
from analysis.summaries.subsets import was_measured
from probes import schema

ARM, SEED = "arm", "seed"
EQUAL, PLATEAU, LAST, BEST, TRAIN = (
    "equal_steps_accuracy",
    "plateau_accuracy",
    "last_accuracy",
    "best_accuracy",
    "train_accuracy",
)
PLATEAU_SHARE = 1 / 3  # share of the steps at the end that are the plateau


def run_scores(store: AnyStore, *, runs: Patterns = None) -> pd.DataFrame:
    """Return a row per finished run: ``run``, ``arm``, ``seed``, ``diverged``, ``steps`` and its accuracies, 0 to 1.

    An arm is the run's id without ``-sSEED`` at its end. The accuracies are those of the test images unless stated
    otherwise:

    - ``equal_steps_accuracy``: of the last test that every run has reached. A diverged run does not count here: it ends
      early and keeps its last accuracy;
    - ``plateau_accuracy``: the mean of the tests in the last third of the run's steps;
    - ``last_accuracy``: of the last test;
    - ``best_accuracy``: of the best test, which is chosen on the test images and therefore too high;
    - ``train_accuracy``: the mean of the recorded batches of the last third.

    A NaN among the accuracies of a run makes their mean NaN.

    Args:
        store: The store.
        runs: Run ids or shell patterns.

    Raises:
        FileNotFoundError: There is no such store.
        ValueError: No run matches, or no run is finished and has been tested.
    """
    opened = Store.open(store)
    rows = load(opened, schema.RUNS, runs=runs)
    finished = [row for row in records(rows) if row["status"] == "finished"]
    steps = load(opened, schema.STEPS, runs=runs, mark=True).astype({schema.RUN: str})
    tests = _tested(steps)
    if not finished or tests.empty:
        raise ValueError("no run is finished and has been tested: there is nothing to compare.")
    scored = [_scores(row, steps[steps[schema.RUN] == str(row[schema.RUN])]) for row in finished]
    table = pd.DataFrame([row for row in scored if row])
    lengths = table.loc[~table["diverged"], "steps"]
    common = lengths.min() if len(lengths) else table["steps"].max()
    early = tests[tests[schema.STEP] <= common].sort_values(schema.STEP, kind="stable")
    last_of_each = early.drop_duplicates(schema.RUN, keep="last").set_index(schema.RUN)["accuracy"]
    table[EQUAL] = table[schema.RUN].map(last_of_each)
    return table.sort_values([ARM, SEED], ignore_index=True)


def of_prefix(scores: pd.DataFrame, prefix: str) -> pd.DataFrame:
    """Return the rows of the arms whose names begin with a plan's prefix, and remove the prefix from the names."""
    chosen = scores[scores[ARM].str.startswith(f"{prefix}-")]
    return chosen.assign(**{ARM: chosen[ARM].str.removeprefix(f"{prefix}-")}).reset_index(drop=True)


def _tested(steps: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of tests with a measured accuracy, which may be NaN."""
    return steps[(steps["split"] == "test") & was_measured(steps, "accuracy")]


def _scores(row: dict[str, Any], steps: pd.DataFrame) -> dict[str, Any]:
    """Return the row of one run; empty if it has not been tested."""
    tests = _tested(steps).sort_values(schema.STEP)
    train = steps[steps["split"] == "train"].sort_values(schema.STEP)
    if tests.empty:
        return {}
    run, seed = str(row[schema.RUN]), json.loads(row["config"] or "{}").get("seed", 0)
    last = tests[schema.STEP].iloc[-1]
    late = tests[tests[schema.STEP] > (1 - PLATEAU_SHARE) * last]
    late_train = train[was_measured(train, "accuracy") & (train[schema.STEP] >= (1 - PLATEAU_SHARE) * last)]
    return {
        schema.RUN: run,
        ARM: run.removesuffix(f"-s{seed}"),
        SEED: seed,
        "diverged": not np.isfinite(train["loss"].iloc[-1]) if len(train) else False,
        "steps": int(last),
        PLATEAU: late["accuracy"].mean(skipna=False),
        LAST: tests["accuracy"].iloc[-1],
        BEST: tests["accuracy"].max(),
        TRAIN: late_train["accuracy"].mean(skipna=False),
    }
