"""The command that inspects checkpoints. Its imports happen when it runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from probes.schema.printable import printable, without_formula

if TYPE_CHECKING:
    import pandas as pd

app = typer.Typer()

SHOWN = ("spectral_norm", "stable_rank", "condition_number", "weight_l2_norm")


@app.command()
def inspect(
    files: Annotated[
        list[Path], typer.Argument(help="Files of torch.save (.pt, .pth, .ckpt, .t7, ...) or safetensors.")
    ],
    *,
    step: Annotated[
        list[int] | None, typer.Option(help="Step of each file; by default what it or its name says; repeatable.")
    ] = None,
    key: Annotated[
        str, typer.Option(help="Entry of the files that is the state dict.", show_default="looked for")
    ] = "",
    include: Annotated[list[str] | None, typer.Option(help="Layers to inspect, as names with *; repeatable.")] = None,
    exclude: Annotated[list[str] | None, typer.Option(help="Layers to leave out; repeatable.")] = None,
    store: Annotated[str, typer.Option(help="Write the rows to this store.", show_default="none")] = "",
    run: Annotated[str, typer.Option("--run-id", "--run", help="The run's id there.", show_default="none")] = "",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Delete a run of this id first.")] = False,
    out: Annotated[
        Path | None, typer.Option(help="File for all columns, .csv or .parquet.", show_default="none")
    ] = None,
) -> None:
    """Show weights, spectra, ranks and norms of checkpoints, without training and without executing a file.

    The files of one run, with `--store` and `--run`, become a run that figures and findings read.

    Example: `meandrift inspect checkpoint-*/model.safetensors --store runs --run finetuned`
    """
    from probes.checkpoints.inspection import inspect as inspected

    if out is not None and out.suffix not in {".csv", ".parquet"}:
        raise ValueError(f"--out {out}: expected a name that ends in .csv or .parquet")
    rows = inspected(
        files,
        step=step or None,
        key=key or None,
        include=include or None,
        exclude=exclude or None,
        store=store or None,
        run=run or None,
        overwrite=overwrite,
    )
    if out is None and not store:
        _show(rows)
    if out is not None:
        rows.map(_safe).to_csv(out, index=False) if out.suffix == ".csv" else rows.to_parquet(out, index=False)
        typer.echo(f"{len(rows)} rows -> {out}")
    if store:
        typer.echo(f"{len(rows)} rows of layers -> run {run} of {store}")


def _show(rows: pd.DataFrame) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    keys = [name for name in ("file", "step", "layer", "layer_type") if name in rows]
    if rows.get("file", rows["layer"].head(1)).nunique() == 1:
        keys = [name for name in keys if name != "file"]
    numbers = [name for name in SHOWN if name in rows]
    shown = Table(box=None)
    for name in (*keys, *numbers):
        shown.add_column(name, min_width=len(name), overflow="fold")
    for _, row in rows.iterrows():
        shown.add_row(*(Text(_text(row[name])) for name in (*keys, *numbers)))  # no markup
    Console().print(shown)


def _text(value: object) -> str:
    import pandas as pd

    if value is None or value is pd.NA or value != value:  # noqa: PLR0124 - NaN
        return ""
    return f"{value:.4g}" if isinstance(value, float) else printable(value)


def _safe(cell: object) -> object:
    return without_formula(cell) if isinstance(cell, str) else cell
