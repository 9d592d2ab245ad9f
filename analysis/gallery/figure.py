"""One figure from a store: its options, its rows, its prepared table and its drawing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from fnmatch import fnmatchcase
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from analysis.figures import FIGURES
from analysis.plotting.figure_spec import FigureSpec, Prepared
from analysis.reading import tables
from analysis.reading.depth_order import layer_names
from analysis.reading.run_table import runs as read_runs
from analysis.reading.selection import Patterns, abbreviated
from analysis.reading.store import AnyStore, Store
from analysis.reading.tables import Steps
from analysis.summaries.comparison_arms import arms
from analysis.summaries.layer_choice import CONVOLUTIONS, convolutions, in_depth_order, published_layers, weight_layers
from analysis.summaries.naming.layer_groups import Groups, in_groups
from analysis.summaries.naming.layer_names import check_names, renamed
from analysis.summaries.nonlinearities.layers_before import with_feeds
from probes import schema
from probes.schema import Column


def figure(
    name: str,
    store: AnyStore,
    *,
    runs: Patterns = None,
    steps: Steps = None,
    paper: bool = False,
    names: Mapping[str, str] | None = None,
    groups: Groups | None = None,
    **options: Any,
) -> Figure:
    """Return a figure drawn from a store alone.

    Args:
        name: One of ``analysis.FIGURES``.
        store: The store's folder or URL, or an open Store.
        runs: Run ids or shell patterns; None draws all runs.
        steps: First and last step, both included.
        paper: Whether to take the published layers, smoothing and band; ``options`` override them.
        names: Names for layers in the figure, by the name that they have in the store.
        groups: Layers that are shown together, by the name of the group: see :func:`analysis.groups`.
        options: The figure's own options, such as ``layers`` or ``smooth``; see ``analysis.FIGURES[name]``.

    Raises:
        FileNotFoundError: There is no such store.
        ValueError: No such figure or option, or the store lacks data that the figure needs: the message lists the
            missing data and those of the store.
    """
    return prepare(name, store, runs=runs, steps=steps, paper=paper, names=names, groups=groups, **options).draw()


def prepare(
    name: str,
    store: AnyStore,
    *,
    runs: Patterns = None,
    steps: Steps = None,
    paper: bool = False,
    names: Mapping[str, str] | None = None,
    groups: Groups | None = None,
    **options: Any,
) -> Prepared:
    """Return a figure's numbers; arguments and errors as :func:`figure`."""
    spec, opened = choose(name, **options), Store.open(store)
    shown = ""
    if paper:
        runs_shown = list(read_runs(opened, runs=runs)[schema.RUN])
        spec, shown = _as_published(spec, opened, runs_shown, options)
    return numbers_of(spec, opened, runs=runs, steps=steps, shown=shown, names=names, groups=groups)


def numbers_of(
    spec: FigureSpec,
    store: AnyStore,
    *,
    runs: Patterns = None,
    steps: Steps = None,
    shown: str = "",
    names: Mapping[str, str] | None = None,
    groups: Groups | None = None,
) -> Prepared:
    """Return the numbers of a figure whose options are set; arguments and errors as :func:`figure`.

    ``shown`` names the chosen layers, for the line below the picture.
    """
    opened = Store.open(store)
    run_table = read_runs(opened, runs=runs)
    if not spec.across_models:
        _one_model(spec, run_table)
    if names:
        check_names(names, layer_names(opened))
    rows, columns = _read(spec, opened, run_table, steps, groups)
    rows = renamed(rows, names or {})
    run_table = run_table[run_table[schema.RUN].isin(rows[schema.RUN].unique())].reset_index(drop=True)
    of_layers = len(in_depth_order(weight_layers(rows, spec.layers))) if schema.LAYER in rows else 0
    naming = {key: dict(given) for key, given in (("names", names), ("groups", groups)) if given}
    return Prepared(spec, spec.prepare(rows), columns, run_table, of_layers, shown, opened, naming)


def _grouped(spec: FigureSpec, rows: pd.DataFrame, groups: Groups) -> pd.DataFrame:
    if spec.reads != schema.LAYERS:
        raise ValueError(f"figure {spec.name!r} reads table {spec.reads!r}: groups are of the layers in table 'layers'")
    return in_groups(rows, groups)


def choose(name: str, **options: Any) -> FigureSpec:
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


def _as_published(spec: FigureSpec, store: Store, runs: list[str], given: dict[str, Any]) -> tuple[FigureSpec, str]:
    """Return the figure with its published options, and which published layers it shows, in words."""
    preset = {key: value for key, value in spec.published.items() if key not in given}
    numbers = spec.published_convolutions or preset.get("places", ())
    if not numbers or spec.layers is not None:
        return replace(spec, **preset), ""
    names = _convolutions(store, runs)
    if spec.published_convolutions:
        preset["layers"] = published_layers(names, numbers)
    shown = f"paper's layers {', '.join(map(str, numbers))}" if len(names) == CONVOLUTIONS else ""
    return replace(spec, **preset), shown


def _convolutions(store: Store, runs: list[str]) -> list[str]:
    return in_depth_order(convolutions(tables.layers(store, columns=[], runs=runs)))


def _one_model(spec: FigureSpec, runs: pd.DataFrame) -> None:
    for setting in ("model", "data"):
        found = sorted(runs[setting].dropna().astype(str).unique()) if setting in runs else []
        if len(found) > 1:
            raise ValueError(
                f"figure {spec.name!r} compares the layers of one network; the runs differ in {setting} "
                f"({', '.join(found)}): choose with runs="
            )


def _read(
    spec: FigureSpec, store: Store, runs: pd.DataFrame, steps: Steps, groups: Groups | None
) -> tuple[pd.DataFrame, dict[str, Column]]:
    table, needed, chosen = spec.reads, spec.needed(), list(runs[schema.RUN])
    described = tables.fields(store, table, runs=chosen)
    _require(spec, list(described))
    further = _matching_patterns(spec, list(described))
    has_layers = schema.LAYER in {key.name for key in schema.KEYS[table]}
    rows = tables.load(
        store,
        table,
        columns=[*needed, *further],
        runs=chosen,
        layers=spec.layers if has_layers else None,
        steps=steps,
        measured=() if spec.keeps_unmeasured else needed,
        mark=True,
    )
    if rows.empty:
        raise ValueError(
            f"figure {spec.name!r}: no row of table {table!r} has {', '.join(needed)} measured{_why(runs, needed)}"
        )
    rows = _grouped(spec, rows, groups) if groups else rows
    rows = rows.astype({schema.RUN: str}).merge(_arms(spec, runs), on=schema.RUN, how="left")
    if spec.before_nonlinearity:
        rows = with_feeds(rows, store)
    return rows, {name: described[name] for name in (*needed, *further)}


def _why(runs: pd.DataFrame, columns: Sequence[str]) -> str:
    """Return the recorded reasons why runs have no such column, in words; empty without any."""
    told = "; ".join(dict.fromkeys(runs["not_measured"].dropna().astype(str))) if "not_measured" in runs else ""
    reasons = [reason for reason in told.split("; ") if reason.partition(":")[0] in columns]
    return f" ({'; '.join(dict.fromkeys(reasons))})" if reasons else ""


def _matching_patterns(spec: FigureSpec, available: list[str]) -> list[str]:
    found = [name for name in available if any(fnmatchcase(name, pattern) for pattern in spec.patterns)]
    if spec.patterns and not found:
        raise ValueError(
            f"figure {spec.name!r} needs a column like {', '.join(spec.patterns)} in table {spec.reads!r}; "
            f"it has: {abbreviated(available)}"
        )
    return [name for name in found if name not in spec.needed()]


def _arms(spec: FigureSpec, runs: pd.DataFrame) -> pd.DataFrame:
    stored = {schema.RUN, *(column.name for column in schema.RUNS_COLUMNS)}
    missing = [name for name in spec.settings if name not in runs]
    if missing:
        has = abbreviated([name for name in runs.columns if name not in stored])
        raise ValueError(f"figure {spec.name!r} needs {', '.join(missing)} in the configuration of runs; it has: {has}")
    axes = list(spec.settings)
    return arms(runs.drop(columns=axes)).merge(runs[[schema.RUN, *axes]], on=schema.RUN)


def _require(spec: FigureSpec, available: list[str]) -> None:
    missing = [name for name in spec.needed() if name not in available]
    if missing:
        raise ValueError(
            f"figure {spec.name!r} needs {', '.join(missing)} in table {spec.reads!r}; it has: {abbreviated(available)}"
        )
