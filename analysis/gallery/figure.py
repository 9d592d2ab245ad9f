"""One figure from a store: choose its options, read its rows, prepare its table, draw it."""

from __future__ import annotations

from dataclasses import fields, replace
from fnmatch import fnmatchcase
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from analysis.figures import FIGURES
from analysis.plotting.picture import Picture, Prepared
from analysis.reading import tables
from analysis.reading.run_table import runs as read_runs
from analysis.reading.selection import Patterns, abbreviated
from analysis.reading.store import AnyStore, Store
from analysis.reading.tables import Steps
from analysis.summaries.arms import arms
from analysis.summaries.layer_choice import in_depth_order, weight_layers
from probes import schema
from probes.schema import Column


def figure(
    name: str,
    store: AnyStore,
    *,
    runs: Patterns = None,
    steps: Steps = None,
    paper: bool = False,
    **options: Any,
) -> Figure:
    """Return a figure drawn from a store alone.

    Args:
        name: One of ``analysis.FIGURES``.
        store: The store's folder or URL, or an open Store.
        runs: Run ids or shell patterns; None draws all runs.
        steps: First and last step, both included.
        paper: Whether to take the published layers, smoothing and band; options override them.
        options: The figure's own options, such as ``layers`` or ``smooth``; see ``analysis.FIGURES[name]``.

    Raises:
        FileNotFoundError: There is no such store.
        ValueError: No such figure or option, or the store lacks what the figure needs: the message lists what is
            missing and what the store has.
    """
    return prepare(name, store, runs=runs, steps=steps, paper=paper, **options).draw()


def prepare(
    name: str,
    store: AnyStore,
    *,
    runs: Patterns = None,
    steps: Steps = None,
    paper: bool = False,
    **options: Any,
) -> Prepared:
    """Return a figure's numbers; arguments and errors as :func:`figure`."""
    picture, opened = choose(name, **options), Store.open(store)
    run_table = read_runs(opened, runs=runs)
    if paper:
        picture = _as_published(picture, opened, list(run_table[schema.RUN]), options)
    if not picture.across_models:
        _one_model(picture, run_table)
    rows, columns = _read(picture, opened, run_table, steps)
    of_layers = len(in_depth_order(weight_layers(rows, picture.layers))) if schema.LAYER in rows else 0
    return Prepared(picture, picture.prepare(rows), columns, run_table, of_layers, opened)


def choose(name: str, **options: Any) -> Picture:
    """Return a figure with its options set.

    Raises:
        ValueError: No such figure or option.
    """
    if name not in FIGURES:
        raise ValueError(f"no figure {name!r}; there are: {', '.join(FIGURES)}")
    known = [field.name for field in fields(FIGURES[name])]
    unknown = [option for option in options if option not in known]
    if unknown:
        raise ValueError(f"figure {name!r} has no option {', '.join(unknown)}; it has: {', '.join(known)}")
    return FIGURES[name](**options)


def _as_published(picture: Picture, store: Store, runs: list[str], given: dict[str, Any]) -> Picture:
    preset = {key: value for key, value in picture.published.items() if key not in given}
    if picture.published_convolutions and picture.layers is None:
        preset["layers"] = _convolutions(picture, store, runs)
    return replace(picture, **preset)


def _convolutions(picture: Picture, store: Store, runs: list[str]) -> list[str]:
    rows = tables.layers(store, columns=[], runs=runs)
    rows = rows[rows[schema.LAYER_TYPE].astype(str).str.startswith("Conv")]
    depth = rows.groupby(schema.LAYER, observed=True)[schema.LAYER_INDEX].min().sort_values(kind="stable")
    wanted = picture.published_convolutions
    if len(depth) <= max(wanted):
        raise ValueError(
            f"figure {picture.name!r} as published shows convolutions {', '.join(map(str, wanted))} of "
            f"DenseNet-BC, counted from 0; this network has {len(depth)}: choose with layers="
        )
    return [str(depth.index[number]) for number in wanted]


def _one_model(picture: Picture, runs: pd.DataFrame) -> None:
    for setting in ("model", "data"):
        found = sorted(runs[setting].dropna().astype(str).unique()) if setting in runs else []
        if len(found) > 1:
            raise ValueError(
                f"figure {picture.name!r} compares the layers of one network; the runs differ in {setting} "
                f"({', '.join(found)}): choose with runs="
            )


def _read(picture: Picture, store: Store, runs: pd.DataFrame, steps: Steps) -> tuple[pd.DataFrame, dict[str, Column]]:
    table, needed, chosen = picture.reads, picture.needed(), list(runs[schema.RUN])
    described = tables.fields(store, table, runs=chosen)
    _require(picture, list(described))
    further = _matching_patterns(picture, list(described))
    has_layers = schema.LAYER in {key.name for key in schema.KEYS[table]}
    rows = tables.load(
        store,
        table,
        columns=[*needed, *further],
        runs=chosen,
        layers=picture.layers if has_layers else None,
        steps=steps,
        measured=needed,
    )
    if rows.empty:
        raise ValueError(f"figure {picture.name!r}: no row of table {table!r} has {', '.join(needed)} measured")
    rows = rows.astype({schema.RUN: str}).merge(_arms(picture, runs), on=schema.RUN, how="left")
    return rows, {name: described[name] for name in (*needed, *further)}


def _matching_patterns(picture: Picture, available: list[str]) -> list[str]:
    found = [name for name in available if any(fnmatchcase(name, pattern) for pattern in picture.patterns)]
    if picture.patterns and not found:
        raise ValueError(
            f"figure {picture.name!r} needs a column like {', '.join(picture.patterns)} in table {picture.reads!r}; "
            f"it has: {abbreviated(available)}"
        )
    return [name for name in found if name not in picture.needed()]


def _arms(picture: Picture, runs: pd.DataFrame) -> pd.DataFrame:
    stored = {schema.RUN, *(column.name for column in schema.RUNS_COLUMNS)}
    missing = [name for name in picture.settings if name not in runs]
    if missing:
        has = abbreviated([name for name in runs.columns if name not in stored])
        raise ValueError(
            f"figure {picture.name!r} needs {', '.join(missing)} in the configuration of runs; it has: {has}"
        )
    axes = list(picture.settings)
    return arms(runs.drop(columns=axes)).merge(runs[[schema.RUN, *axes]], on=schema.RUN)


def _require(picture: Picture, available: list[str]) -> None:
    missing = [name for name in picture.needed() if name not in available]
    if missing:
        raise ValueError(
            f"figure {picture.name!r} needs {', '.join(missing)} in table {picture.reads!r}; it has: "
            f"{abbreviated(available)}"
        )
