"""All figures of a store in one go: what can be drawn is drawn, what cannot is said in one line each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.drawing import prepare
from analysis.figures import FIGURES
from analysis.run_table import runs as read_runs
from analysis.saving import check_formats, save
from analysis.selection import Patterns, matching
from analysis.tables import Steps, StorePath, records
from probes import schema


@dataclass(frozen=True)
class Gallery:
    """What became of each figure.

    Attributes:
        written: Files by figure.
        refused: Why a figure could not be drawn, by figure.
    """

    written: dict[str, list[Path]] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)


def write_figures(
    store: StorePath,
    out: str | Path,
    *,
    only: Patterns = None,
    runs: Patterns = None,
    layers: Patterns = None,
    steps: Steps = None,
    formats: Sequence[str] = ("png", "pdf"),
    paper: bool = False,
    options: Mapping[str, Any] | None = None,
    progress: Callable[[str], object] = str,
) -> Gallery:
    """Write every figure that a store's columns allow, with its provenance, into a folder.

    Runs of several networks or data sets give a file each (``mean_drift.vgg7.png``), for their layers do not compare.

    Args:
        store: The store's folder.
        out: Folder for the files; made if it is not there.
        only: Names or shell patterns of figures; None draws all.
        runs: Run ids or shell patterns.
        layers: Layer names, patterns or depth positions, for the figures that show layers.
        steps: First and last step, both included.
        formats: Of png, pdf and svg.
        paper: Whether to take the published layers, smoothing and bands.
        options: Further options, given to the figures that have them.
        progress: Called with each file stem before it is drawn.

    Raises:
        FileNotFoundError: There is no such store.
        ValueError: No such figure, format or run, or the store is empty. What one figure lacks is no error here.
    """
    check_formats(formats)
    names = matching(only, list(FIGURES), what="figure")
    run_table = read_runs(store, runs=runs)
    gallery = Gallery()
    for name in names:
        for suffix, chosen in _parts(name, run_table).items():
            stem = f"{name}{suffix}"
            progress(stem)
            try:
                kept = {key: value for key, value in (options or {}).items() if hasattr(FIGURES[name], key)}
                ready = prepare(name, store, runs=chosen, steps=steps, paper=paper, layers=layers, **kept)
                gallery.written[stem] = save(ready, store, Path(out), stem=stem, formats=formats)
            except ValueError as reason:
                gallery.refused[stem] = str(reason)
    return gallery


def _parts(name: str, runs: pd.DataFrame) -> dict[str, list[str]]:
    """Return run ids by file suffix: one part, unless networks or data sets differ and the figure compares layers."""
    varying = [key for key in ("model", "data") if key in runs and runs[key].nunique(dropna=False) > 1]
    if FIGURES[name].across_models or not varying:
        return {"": list(runs[schema.RUN])}
    parts: dict[str, list[str]] = {}
    for row in records(runs):
        suffix = "".join(f".{_file_word(row[key])}" for key in varying)
        parts.setdefault(suffix, []).append(row[schema.RUN])
    return parts


def _file_word(value: object) -> str:
    return "".join(letter if letter.isalnum() or letter in "-_" else "-" for letter in str(value))
