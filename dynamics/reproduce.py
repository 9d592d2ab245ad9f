"""The paper's comparison in two minutes: the 3-layer CNN with BN, SN and MSN on the shipped digits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.table import Table

from dynamics.config import RunConfig
from dynamics.models import build
from dynamics.stored import Task, stored_config, task_for

NORMS = ("bn", "sn", "msn")
EPOCHS, EVERY = 10, 6
FORMATS = ("{}", "{}", "{:.2%}", "{:.2%}", "{:.4f}", "{:,}", "{:,}")


def tasks(store: str, *, overwrite: bool = False) -> list[Task]:
    """Return what is left to train of the three runs.

    Raises:
        ValueError: The store holds a run of the same id with other settings.
    """
    configs = [RunConfig(model="cnn3", norm=norm, epochs=EPOCHS, every=EVERY) for norm in NORMS]
    return [task_for(store, f"{config.model}-{config.norm}", config, overwrite=overwrite) for config in configs]


def results(store: str, runs: Sequence[str]) -> pd.DataFrame:
    """Return a row a run, read back from the store: accuracies in 0..1, steps and parameters."""
    steps = pd.read_parquet(f"{store}/steps", filters=[("run", "in", list(runs))])
    return pd.DataFrame([_result(store, run, steps[steps["run"] == run]) for run in runs])


def _result(store: str, run: str, steps: pd.DataFrame) -> dict[str, Any]:
    tests, training = steps[steps["split"] == "test"], steps[steps["split"] == "train"]
    config = stored_config(store, run)
    return {
        "run": run,
        "norm": config.norm,
        "best test accuracy": tests["accuracy"].max(),
        "last test accuracy": tests["accuracy"].iloc[-1],
        "last training loss": training["loss"].iloc[-1],
        "steps": int(training["step"].max()) + 1,
        "parameters": trainable_parameters(config.model, config.norm),
    }


def trainable_parameters(model: str, norm: str) -> int:
    """Return how many numbers training may change."""
    return sum(parameter.numel() for parameter in build(model, norm).parameters() if parameter.requires_grad)


def show(table: pd.DataFrame, console: Console) -> None:
    """Print the results as a table."""
    shown = Table(*table.columns, title="3-layer CNN, 5,000 training and 1,000 test digits of MNIST")
    for column, formatted in zip(shown.columns, FORMATS, strict=True):
        column.justify = "left" if formatted == "{}" else "right"
    for row in table.itertuples(index=False):
        shown.add_row(*(formatted.format(value) for formatted, value in zip(FORMATS, row, strict=True)))
    console.print(shown)


def write(table: pd.DataFrame, out: Path) -> list[Path]:
    """Write the results as CSV and return the file."""
    out.mkdir(parents=True, exist_ok=True)
    path = out / "results.csv"
    table.to_csv(path, index=False)
    return [path]
