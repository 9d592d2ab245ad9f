"""Groups of layers, ``{"encoder": "enc.*"}``, and the numbers of each group instead of those of its layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd

from analysis.reading.selection import Patterns, matching
from analysis.reading.store import AnyStore, Store
from analysis.reading.tables import Steps, load, mark_of
from analysis.summaries.subsets import without_marks
from probes.schema import EPOCH, LAYER, LAYER_INDEX, LAYER_TYPE, LAYERS, RUN, STEP

GROUP, LAYER_COUNT = "group", "layers"
Groups = Mapping[str, Patterns]
_LARGEST = {
    *("spectral_norm", "operator_norm", "condition_number", "grad_spectral_norm", "update_spectral_norm"),
    *("weight_rms_norm", "update_rms_norm"),
}
_KEYS = {RUN, STEP, EPOCH, LAYER, LAYER_INDEX, LAYER_TYPE}


def groups(
    store: AnyStore,
    groups: Groups,
    *,
    columns: Sequence[str] | None = None,
    runs: Patterns = None,
    steps: Steps = None,
) -> pd.DataFrame:
    """Return the table of scalars by groups of layers: a row per (run, step, group).

    The number of a group follows from the layers in which it was measured: ``sqrt(sum(x^2))`` for ``*_l2_norm``; the
    sum for a count; the largest for ``spectral_norm``, ``operator_norm`` and ``condition_number``; the mean over
    layers, each counted once, for any other column. NaN in one layer is NaN in the group. A number that was measured in
    no layer of the group is null.

    Args:
        store: The store's folder or URL, or an open Store.
        groups: By name of the group, the layers as in :func:`analysis.layers`: names, shell patterns, positions. A
            layer may be in several groups, or in none.
        columns: Measured columns; None takes all.
        runs: Run ids or shell patterns.
        steps: First and last step, both included.

    Raises:
        FileNotFoundError: There is no such folder.
        ValueError: The store has no such column or run, or a pattern matches no layer.
    """
    opened = Store.open(store)
    rows = load(opened, LAYERS, columns=columns, runs=runs, steps=steps, mark=True)
    table = without_marks(in_groups(rows, groups))
    return table.drop(columns=[LAYER_INDEX, LAYER_TYPE]).rename(columns={LAYER: GROUP})


def in_groups(rows: pd.DataFrame, groups: Groups, *, valid: Mapping[str, np.ndarray] | None = None) -> pd.DataFrame:
    """Return rows of table ``layers`` by groups, each group like a layer; see :func:`groups`.

    Args:
        rows: The rows; marks of :func:`analysis.reading.tables.load` say where a column was measured, and the groups
            have such marks too.
        groups: The layers of each group.
        valid: By column, the rows in which it was measured. A column without an entry and without marks counts as
            measured in all rows.

    Raises:
        ValueError: A pattern matches no layer, or there are no groups.
    """
    if not groups:
        raise ValueError("groups: expected at least one, such as {'encoder': 'enc.*'}.")
    names = list(dict.fromkeys(rows[LAYER].astype(str)))
    marked = [name for name in map(str, rows.columns) if mark_of(name) in rows]
    known = {name: rows[mark_of(name)].to_numpy(bool) for name in marked} | dict(valid or {})
    made = []
    for place, (group, patterns) in enumerate(groups.items()):
        mine = rows[LAYER].astype(str).isin(matching(patterns, names, what="layer")).to_numpy()
        of_group = {name: mask[mine] for name, mask in known.items()}
        one = _one_group(rows[mine], of_group)
        one[LAYER], one[LAYER_INDEX], one[LAYER_TYPE] = group, place, GROUP
        made.append(one)
    table = pd.concat(made, ignore_index=True)
    table[LAYER] = pd.Categorical(table[LAYER], categories=list(groups))
    first = [name for name in (RUN, STEP, EPOCH, LAYER, LAYER_INDEX, LAYER_TYPE, LAYER_COUNT) if name in table]
    return table.sort_values([RUN, STEP, LAYER_INDEX], kind="stable")[
        [*first, *(name for name in table if name not in first)]
    ].reset_index(drop=True)


def _one_group(rows: pd.DataFrame, valid: Mapping[str, np.ndarray]) -> pd.DataFrame:
    by_record = rows.groupby([RUN, STEP], observed=True, sort=False)
    codes, count = by_record.ngroup().to_numpy(), by_record.ngroups
    table = by_record[[EPOCH]].first() if EPOCH in rows else by_record[[STEP]].first()[[]]
    table[LAYER_COUNT] = by_record[LAYER].nunique()
    for name in rows.columns:
        if name not in _KEYS and pd.api.types.is_numeric_dtype(rows[name]) and rows[name].dtype != bool:
            mask = valid.get(name, np.ones(len(rows), dtype=bool))
            values = rows[name].to_numpy("float64", na_value=np.nan)
            table[name] = aggregated(values[mask], codes[mask], count, how=_how(name, rows[name]))
            if mark_of(name) in rows:
                table[mark_of(name)] = np.bincount(codes[mask], minlength=count) > 0
    return table.reset_index()


def aggregated(values: np.ndarray, codes: np.ndarray, count: int, *, how: str) -> np.ndarray:
    """Return the aggregate of the values of each code, ``(count,)``; NaN where a code has no value, or a NaN.

    Args:
        values: Numbers.
        codes: The group of each value, 0 to ``count - 1``.
        count: Number of groups.
        how: ``mean``, ``sum``, ``max`` or ``length``.
    """
    result = np.full(count, -np.inf) if how == "max" else np.zeros(count)
    add: Callable[..., None] = np.maximum.at if how == "max" else np.add.at
    with np.errstate(invalid="ignore", over="ignore"):
        add(result, codes, values**2 if how == "length" else values)
        sizes = np.bincount(codes, minlength=count)
        result = np.sqrt(result) if how == "length" else result
        result = result / np.maximum(sizes, 1) if how == "mean" else result
    return np.where(sizes == 0, np.nan, result)


def _how(name: str, column: pd.Series) -> str:
    if name.endswith("l2_norm"):
        return "length"
    if name in _LARGEST:
        return "max"
    return "sum" if name.endswith("_nonfinite") or pd.api.types.is_integer_dtype(column) else "mean"
