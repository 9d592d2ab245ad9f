"""What a reproduction leaves behind: a table of results, figures and the paper's tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
from rich.table import Table

from analysis.figures import FIGURES
from analysis.gallery.gallery import write_figures
from analysis.paper.score_table import score_table
from analysis.paper.table_book import write_tables
from dynamics.classifier.config import RunConfig
from dynamics.runtime.stored import stored_run
from dynamics.sweeps.experiments import Experiment, GanExperiment

FORMATS = {
    "best accuracy": "{:.2%}",
    "last accuracy": "{:.2%}",
    "last loss": "{:.4f}",
    "steps": "{:,}",
    "parameters": "{:,}",
}


@dataclass(frozen=True)
class Reproduction:
    """What was drawn and written.

    Attributes:
        files: The files, those of one figure or table together.
        refused: What could not be drawn, and why.
    """

    files: list[list[Path]] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)


def results_of(store: str, experiment: Experiment | GanExperiment, *, quick: bool) -> pd.DataFrame:
    """Return what came out of an experiment: :func:`results`, or of GANs their scores."""
    if isinstance(experiment, GanExperiment):
        return score_table(store, runs=list(experiment.runs(quick=quick)))
    return results(store, experiment.runs(quick=quick), settings=list(experiment.axes))


def results(store: str, runs: Mapping[str, RunConfig], *, settings: Sequence[str]) -> pd.DataFrame:
    """Return a row a run, read back from the store.

    Args:
        store: The store.
        runs: The configuration of each run by its id.
        settings: The settings that tell the runs apart; they are the first columns.

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


def as_text(table: pd.DataFrame, *, title: str) -> Table:
    """Return the results as a table for the terminal."""
    shown = Table(title=title, title_justify="left")
    for column in table.columns:
        shown.add_column(column.replace("_", " "), justify="right" if column in FORMATS else "left")
    for row in table.itertuples(index=False):
        cells = zip(table.columns, row, strict=True)
        shown.add_row(*(FORMATS.get(column, "{}").format(value) for column, value in cells))
    return shown


def draw(store: str, runs: Sequence[str], *, out: Path) -> Reproduction:
    """Draw every figure and write every table of the paper that these runs allow.

    Save one: runs that were trained side by side share the machine, and their times do not compare.
    """
    gallery = write_figures(store, out, runs=runs, only=[name for name in FIGURES if name != "accuracy_time"])
    book = write_tables(store, runs=runs, formats=("md", "csv"), out=out)
    files = [*gallery.written.values(), *([path] for path in book.written)]
    return Reproduction(files, {**gallery.refused, **book.refused})
