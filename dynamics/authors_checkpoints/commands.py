"""The command that evaluates the authors' checkpoints. It imports its modules when it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer()


@app.command("authors-checkpoints")
def authors_checkpoints(
    files: Annotated[list[Path], typer.Argument(help="Files checkpoint/*MNIST.t7 of the authors' repository.")],
    *,
    data_dir: Annotated[Path, typer.Option(help="Folder that holds the data sets.", rich_help_panel="Data")] = Path(
        "data"
    ),
    download: Annotated[
        bool, typer.Option("--download", help="Fetch MNIST if not there.", rich_help_panel="Data")
    ] = False,
) -> None:
    """Evaluate the MNIST checkpoints that the paper's authors published, beside the accuracy that each stores.

    The status is 1 if one differs by an image. The files are in `checkpoint/` of github.com/AntixK/mean-spectral-norm.

    Example: `meandrift authors-checkpoints mean-spectral-norm/checkpoint/*MNIST.t7 --data-dir data`
    """
    from rich.console import Console
    from rich.table import Column, Table

    from dynamics.authors_checkpoints.accuracy import verdicts
    from dynamics.data.sources import load_data

    digits = load_data("mnist", data_dir=data_dir, download=download).test
    found = list(verdicts(files, digits))
    shown = Table(Column("file", overflow="fold"), "norm", "activation", "epoch", "stored %", "found %", "images more")
    for one in found:
        accuracies = [f"{100 * accuracy:.2f}" for accuracy in (one.stored, one.found)]
        shown.add_row(one.file, one.norm, one.activation, str(one.epoch), *accuracies, f"{one.difference:+d}")
    Console().print(shown)
    if any(one.difference for one in found):
        raise typer.Exit(1)
