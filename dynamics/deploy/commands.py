"""The command that prepares trained networks for small machines. It imports its modules when it runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dynamics.runtime.options import STORE, DataDir, Download

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table

app = typer.Typer()


@app.command()
def deploy(
    runs: Annotated[list[str], typer.Argument(metavar="RUN", help="Ids of runs of `meandrift train`.")],
    *,
    store: Annotated[str, typer.Option(help="Folder or URL that they recorded in.", rich_help_panel=STORE)] = "runs",
    out: Annotated[Path, typer.Option(help="Folder for the rows and the ONNX files.")] = Path("deployed"),
    test_images: Annotated[int, typer.Option(help="Test on at most this many images, evenly spaced; 0: all.")] = 0,
    rounds: Annotated[int, typer.Option(help="Rounds of timing before and after folding.", min=1)] = 200,
    data_dir: DataDir = Path("data"),
    download: Download = False,
) -> None:
    """Fold a trained network's norms, export it as ONNX, round it to int8, prune it, time it.

    Prints accuracy, size and latency by norm, and writes them as CSV, Parquet and JSON. ONNX needs the extra `deploy`;
    all else goes on without. The status is 1 if folding or ONNX changed the class of an image.

    Example: `meandrift deploy bn-s0 msn-s0 --data-dir data`
    """
    from rich.console import Console

    from dynamics.deploy.report import FOLDED, ONNX, as_table, write_rows
    from dynamics.deploy.report import deploy as deployed
    from dynamics.deploy.trained_run import trained_run
    from probes.schema.printable import one_line, say

    if out.exists() and not out.is_dir():
        raise ValueError(f"--out {out} is a file: expected a folder, or a path where one can be made.")
    given = {"data_dir": data_dir, "download": download, "test_images": test_images}
    trained = [trained_run(store, run, **given) for run in dict.fromkeys(runs)]  # type: ignore[arg-type]
    results = []
    with Console(stderr=True).status("measuring") as status:
        for one in trained:
            status.update(f"measuring {one.run}")
            results.append(deployed(one, out=out, rounds=rounds))
    rows, notes = as_table(results), [one_line(note) for one in results for note in one.notes]
    for shown in (_folding(rows), _latency(rows), _smaller(rows)):
        Console().print(shown)
    for note in notes:
        say(note, err=True)
    for path in write_rows(rows, out, notes=notes):
        say(path)
    changed = rows[rows["variant"].isin([FOLDED, ONNX]) & (rows["changed_images"] > 0)]
    for row in changed.itertuples():
        say(f"{row.run}: {row.changed_images} images have another class, {row.variant}", err=True)
    if len(changed):
        raise typer.Exit(1)


def _folding(rows: pd.DataFrame) -> Table:
    """Return accuracy before and after folding, one row for each run."""
    titles = ["norms left", "images", "changed", "trained %", "folded %"]
    cells = []
    for run, of in _by_variant(rows):
        trained, folded = of["trained"], of["folded"]
        accuracies = [f"{100 * one['accuracy']:.2f}" for one in (trained, folded)]
        images = [f"{folded[name]:,}" for name in ("images", "changed_images")]
        cells.append([run, folded["norm"], folded["left"] or "none", *images, *accuracies])
    return _table("Folding: norms left, images whose class changed, accuracy", titles, cells)


def _latency(rows: pd.DataFrame) -> Table:
    """Return the time of one image before and after folding, and the control, one row for each run."""
    titles = ["ms", "folded ms", "ratio", "control"]
    cells = []
    for run, of in _by_variant(rows):
        times = [f"{of[name]['latency_ms']:.3f}" for name in ("trained", "folded")]
        ratios = [f"{of['folded'][name]:.3f}" for name in ("latency_ratio", "latency_control")]
        cells.append([run, of["folded"]["norm"], *times, *ratios])
    return _table("Latency: one image on one thread", titles, cells)


def _smaller(rows: pd.DataFrame) -> Table:
    """Return size and accuracy of the folded network as int8 and pruned, one row for each run."""
    from dynamics.deploy.report import PRUNED, pruned_name

    pruned = [pruned_name(share) for share in PRUNED]
    titles = ["kB", "ONNX kB", "int8 kB", "int8 %", *(f"-{100 * share:g} %" for share in PRUNED)]
    cells = []
    for run, of in _by_variant(rows):
        sizes = [f"{of[name]['bytes'] / 1e3:,.1f}" if name in of else "-" for name in ("folded", "onnx", "int8")]
        accuracies = [f"{100 * of[name]['accuracy']:.2f}" for name in ("int8", *pruned)]
        cells.append([run, of["folded"]["norm"], *sizes, *accuracies])
    return _table("Smaller: size, accuracy as int8 and pruned", titles, cells)


def _by_variant(rows: pd.DataFrame) -> list[tuple[str, dict[str, dict[Any, Any]]]]:
    """Return each run with its rows by variant."""
    return [
        (str(run), {row["variant"]: row for row in of.to_dict("records")})
        for run, of in rows.groupby("run", sort=False)
    ]


def _table(title: str, titles: list[str], rows: list[list[str]]) -> Table:
    from rich.table import Column, Table

    numbers = [Column(name, no_wrap=True, justify="left" if name == "norms left" else "right") for name in titles]
    names = (Column("run", overflow="fold", min_width=9), Column("norm", no_wrap=True))
    shown = Table(*names, *numbers, title=title, box=None, title_justify="left")
    for row in rows:
        shown.add_row(*row)
    return shown
