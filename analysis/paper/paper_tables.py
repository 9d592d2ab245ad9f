"""Tables I and III of the paper from a store, with published numbers and differences; all tables by name."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from analysis.paper.published import published_accuracy, published_parameters
from analysis.paper.score_table import score_table
from analysis.reading.run_table import runs as read_runs
from analysis.reading.run_table import with_settings
from analysis.reading.selection import Patterns
from analysis.reading.store import AnyStore, Store
from analysis.reading.tables import load
from analysis.summaries.norm_names import NORM_ORDER
from probes.schema import RUN, SPLIT, STEPS

MODEL, DATA, NORM, RATE = "model", "data", "norm", "learning_rate"
DIFFERENCE = "difference"
GAN, CRITIC = "gan", "critic"


def accuracy_table(store: AnyStore, *, runs: Patterns = None) -> pd.DataFrame:
    """Return Table I: the best test accuracy of each network, data set and norm, at its best learning rate.

    For each learning rate the best record of each run is averaged over the runs; the rate with the highest average is
    reported, as the paper does. ``std`` is over runs, ddof=1, NaN for one run. ``published`` is NaN where the paper
    trained no such network on that data. The paper's networks saw the full data sets for far more epochs.

    Raises:
        FileNotFoundError: There is no such store.
        ValueError: No test accuracy, or runs without ``norm`` in their configuration.
    """
    opened = Store.open(store)
    rows = load(opened, STEPS, columns=["accuracy"], runs=runs, measured=["accuracy"])
    rows = rows[rows[SPLIT] == "test"]
    if rows.empty:
        raise ValueError("Table I needs accuracy with split 'test' in table 'steps'; the store has none")
    best = with_settings(rows.groupby(RUN, observed=True)["accuracy"].max().reset_index(), opened, [NORM])
    best = with_settings(best, opened, [MODEL, DATA, RATE], optional=True)
    groups = best.groupby([MODEL, DATA, NORM, RATE], dropna=False)["accuracy"]
    table = groups.agg(accuracy="mean", std="std", runs="size").reset_index()
    table = table.sort_values("accuracy", kind="stable").drop_duplicates([MODEL, DATA, NORM], keep="last")
    return _beside(table, published_accuracy(), on=[MODEL, DATA, NORM], ours="accuracy")


def parameter_table(store: AnyStore, *, runs: Patterns = None) -> pd.DataFrame:
    """Return Table III: trainable parameters of each network and norm.

    Raises:
        FileNotFoundError: There is no such store.
        ValueError: The runs do not carry ``parameters``, or carry different ones under one norm.
    """
    table = read_runs(store, runs=runs)
    needed = [MODEL, NORM, "parameters"]
    missing = [name for name in needed if name not in table]
    if missing:
        raise ValueError(
            f"Table III needs {', '.join(missing)} in the configuration of runs; "
            "`meandrift params` counts without a store"
        )
    counts = table.groupby([MODEL, NORM])["parameters"].agg(["min", "max"]).reset_index()
    if (unequal := counts[counts["min"] != counts["max"]]).size:
        raise ValueError(
            f"runs of {unequal[MODEL].iloc[0]} with {unequal[NORM].iloc[0]} differ in their parameters: "
            "choose with runs="
        )
    counts = counts.rename(columns={"max": "parameters"}).drop(columns="min").astype({"parameters": "int64"})
    counts[MODEL] = counts[MODEL].replace(GAN, CRITIC)
    return _beside(counts, published_parameters(), on=[MODEL, NORM], ours="parameters")


TABLES: dict[str, Callable[..., pd.DataFrame]] = {
    "accuracy": accuracy_table,
    "scores": score_table,
    "parameters": parameter_table,
}
NUMBERS = {"accuracy": "Table I", "scores": "Table II", "parameters": "Table III"}
CAPTIONS = {
    "accuracy": "Best test accuracy over learning rates",
    "scores": "Scores of generated images",
    "parameters": "Trainable parameters",
}


def _beside(table: pd.DataFrame, published: pd.DataFrame, *, on: list[str], ours: str) -> pd.DataFrame:
    joined = table.merge(published, on=on, how="left")
    joined[DIFFERENCE] = joined[ours] - joined["published"]
    return _in_norm_order(joined, by=[name for name in on if name != NORM])


def _in_norm_order(table: pd.DataFrame, *, by: list[str]) -> pd.DataFrame:
    place = table[NORM].map({norm: i for i, norm in enumerate(NORM_ORDER)}).fillna(len(NORM_ORDER))
    ordered = table.assign(_place=place).sort_values([*by, "_place", NORM], ignore_index=True)
    return ordered.drop(columns="_place")
