"""Results of classifier runs, read from the store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from dynamics.classifier.config import RunConfig
from dynamics.runtime.stored_run import stored_run

FORMATS = {
    "best accuracy": "{:.2%}",
    "last accuracy": "{:.2%}",
    "last loss": "{:.4f}",
    "steps": "{:,}",
    "parameters": "{:,}",
}


def results(store: str, runs: Mapping[str, RunConfig], *, settings: Sequence[str]) -> pd.DataFrame:
    """Return one row for each run, read from the store.

    Args:
        store: The store.
        runs: The configuration of each run by its id.
        settings: The settings in which the runs differ; they are the first columns.

    Returns:
        The settings; the best and the last test accuracy, 0 to 1; the last training loss; steps; parameters.
    """
    steps = pd.read_parquet(f"{store}/steps", filters=[("run", "in", list(runs))])
    rows = []
    for run, config in runs.items():
        own = steps[steps["run"] == run].sort_values("step")
        tests, training = own[own["split"] == "test"], own[own["split"] == "train"]
        found = stored_run(store, run)
        rows.append(
            {name: getattr(config, name) for name in settings}
            | {
                "best accuracy": tests["accuracy"].max(),
                "last accuracy": tests["accuracy"].iloc[-1],
                "last loss": training["loss"].iloc[-1],
                "steps": int(training["step"].max()) + 1,
                "parameters": found.settings["parameters"] if found else 0,
            }
        )
    return pd.DataFrame(rows, columns=[*settings, *FORMATS])
