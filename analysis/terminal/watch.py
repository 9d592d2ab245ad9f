"""Display of a run in progress: findings, losses, a sparkline per layer."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from analysis.findings import KIND, NOTE, SEVERITY, Checked, checked
from analysis.findings.causality import groups
from analysis.reading.run_table import runs as read_runs
from analysis.reading.selection import Patterns, abbreviated, spread_over
from analysis.reading.store import AnyStore, Store
from analysis.reading.tables import fields, fields_if_any, load, records
from analysis.summaries.layer_choice import in_depth_order
from analysis.terminal.findings_text import as_line, as_notes
from analysis.terminal.sparkline import sparkline
from probes.schema import LAYER, LAYERS, RUN, SPLIT, STEP, STEPS
from probes.schema.printable import printable

MOST_LAYERS = 24
FEWEST_LAYERS = 3
LEAST_SPARKLINE, BESIDE_SPARKLINE = 8, 24  # letters: the shortest sparkline; the numbers beside it


def view(
    store: AnyStore,
    *,
    run: str | None = None,
    column: str,
    layers: Patterns = None,
    width: int = 80,
    height: int | None = None,
) -> Group:
    """Return the display of one run as it is now.

    Args:
        store: The store's folder or URL, or an open Store.
        run: Run id or pattern; None takes the run that was updated last.
        column: Column of table ``layers`` whose sparklines are drawn.
        layers: Layer names or patterns; None shows up to 24, evenly spaced in depth.
        width: Letters per line. The sparklines have the width that names and numbers leave.
        height: Lines of the screen. Layers are left out to fit it, warnings are not. None sets no limit.

    Raises:
        FileNotFoundError: There is no such store.
        ValueError: The store is empty, or has no such run, layer or column.
    """
    opened = Store.open(store)
    chosen = _chosen(opened, run)
    rows = load(opened, LAYERS, columns=[column], runs=chosen[RUN], layers=layers, measured=[column])
    progress = _progress(opened, chosen, width=width)
    told = _findings(checked(opened, runs=chosen[RUN]))
    around = Console(width=width).render_lines(Group(told, progress))
    room = MOST_LAYERS if height is None else height - len(around) - 2  # title and head of the table
    most = min(max(room, FEWEST_LAYERS), MOST_LAYERS)
    return Group(told, progress, _layers(rows, column, asked=layers, most=most, width=width))


def _chosen(store: Store, run: str | None) -> pd.Series:
    table = read_runs(store).sort_values("updated", kind="stable", na_position="first")
    wanted = set(store.run_ids(run))
    names = [name for name in table[RUN] if name in wanted]
    return table[table[RUN] == names[-1]].iloc[0]


def _progress(store: Store, run: pd.Series, *, width: int) -> RenderableType:
    line = Text.assemble((printable(run[RUN]), "bold"), printable(f"  {_state(run)}"))
    table = Table("split", "step", "loss", "accuracy", "", box=None, padding=(0, 2, 0, 0))
    columns = fields_if_any(store, STEPS, runs=run[RUN])
    steps = load(store, STEPS, columns=[], runs=run[RUN]) if columns else pd.DataFrame(columns=[STEP, SPLIT])
    logged = {name: _logged(store, run[RUN], name) for name in ("loss", "accuracy") if name in columns}
    for split, rows in steps.groupby(SPLIT, observed=True):
        loss, accuracy = (_of_split(logged.get(name), split) for name in ("loss", "accuracy"))
        table.add_row(
            Text(printable(split)),
            f"{rows[STEP].max():,}",
            _number(loss[-1]) if len(loss) else "",
            f"{accuracy[-1]:.2%}".replace("nan%", "NaN") if len(accuracy) else "",
            sparkline(loss, width=max(width - 2 * BESIDE_SPARKLINE, LEAST_SPARKLINE)),
        )
    return Group(line, table)


def _logged(store: Store, run: str, column: str) -> pd.DataFrame:
    """Return the rows in which a number was logged: a NaN counts as logged, a null does not."""
    return load(store, STEPS, columns=[column], runs=run, measured=[column])


def _of_split(rows: pd.DataFrame | None, split: Any) -> np.ndarray:
    if rows is None:
        return np.zeros(0)
    return rows[rows[SPLIT] == split].sort_values(STEP, kind="stable").iloc[:, -1].to_numpy("float64")


def _state(run: pd.Series) -> str:
    if pd.isna(run["updated"]):
        return "status unknown: it has no row in table runs"
    return f"{run['status']}, updated {run['updated']:%H:%M:%S} UTC"


def _layers(rows: pd.DataFrame, column: str, *, asked: Patterns, most: int, width: int) -> RenderableType:
    names = in_depth_order(rows)
    printed = names if asked is not None else spread_over(names, most=most)
    letters = max(width - BESIDE_SPARKLINE - max(map(len, printed), default=0), LEAST_SPARKLINE)
    title = f"{column}, {len(printed)} of {len(names)} layers, up to step {rows[STEP].max():,}" if names else column
    table = Table(
        "layer", "", "first", "last", title=Text(printable(title)), title_justify="left", box=None, padding=(0, 2, 0, 0)
    )
    for name in printed:
        values = rows.loc[rows[LAYER] == name].sort_values(STEP)[column].to_numpy("float64")
        table.add_row(Text(printable(name)), sparkline(values, width=letters), _number(values[0]), _number(values[-1]))
    return table


def _findings(result: Checked) -> RenderableType:
    found, notices = groups(records(result.findings)), as_notes(result.notices)
    told = [(row, rest) for row, rest in found if any(one[SEVERITY] != NOTE for one in (row, *rest))]
    beside = [Text(notices, style="yellow")] if notices else []
    if not told:
        return Group(Text("no findings", style="" if notices else "green"), *beside)
    lines = [Text(f"{row[SEVERITY]} {as_line(row)}{_explains(rest)}") for row, rest in told]
    return Group(Panel(Group(*lines), title="findings", title_align="left", border_style="red", expand=False), *beside)


def _explains(consequences: Sequence[dict[str, Any]]) -> str:
    if not consequences:
        return ""
    kinds = ", ".join(dict.fromkeys(str(row[KIND]) for row in consequences))
    return f"; explains {len(consequences)} more: {kinds}"


def _number(value: float) -> str:
    return f"{value:.4g}".replace("nan", "NaN")


def default_column(store: AnyStore, *, run: str | None = None) -> str:
    """Return the default column of ``watch``: the first of a few preferred columns that the store has.

    Raises:
        ValueError: The store has no measured column.
    """
    available = list(fields(store, LAYERS, runs=run))
    for name in ("grad_l2_norm", "weight_mean", "spectral_norm", *available):
        if name in available:
            return name
    raise ValueError(f"store {str(store)!r}: table {LAYERS!r} has no measured column; it has {abbreviated(available)}")


def watch(
    draw: Callable[[], RenderableType], *, console: Console, every: float, stop: Callable[[], bool] = lambda: False
) -> None:
    """Show the display that ``draw`` returns, every few seconds, until stopped or interrupted.

    The display waits if the store is still empty.

    Raises:
        FileNotFoundError: There is no such store.
    """
    with Live(console=console, auto_refresh=False) as live:
        while True:
            live.update(_drawn(draw), refresh=True)
            if stop():
                return
            time.sleep(every)


def _drawn(draw: Callable[[], RenderableType]) -> RenderableType:
    try:
        return draw()
    except ValueError as reason:
        return Text(f"waiting: {printable(reason)}", style="yellow")
