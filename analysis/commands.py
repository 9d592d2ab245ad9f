"""The commands that read a store: figures. What they need is imported when they run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer()

StoreArgument = Annotated[Path, typer.Argument(help="Folder that a Probe recorded in.", show_default=True)]
Runs = Annotated[str | None, typer.Option(help="Run ids or patterns, commas between: 'bn-*,sn-s0'.")]
Layers = Annotated[str | None, typer.Option(help="Layer names or patterns, commas between: '*.conv1'.")]
Paper = Annotated[bool, typer.Option("--paper", help="Take the published layers, smoothing and bands.")]


@app.command()
def figures(
    store: StoreArgument = Path("runs"),
    *,
    only: Annotated[list[str] | None, typer.Option(help="Figures to draw: names or patterns. Repeatable.")] = None,
    layers: Layers = None,
    runs: Runs = None,
    formats: Annotated[str, typer.Option("--format", help="Of png, pdf, svg, commas between.")] = "png,pdf",
    paper: Paper = False,
    out: Annotated[Path, typer.Option(help="Folder to write to.")] = Path("figures"),
) -> None:
    """Draw every figure that a store's columns allow, each with a .json that says what it was made from.

    Example: `meandrift figures runs --only mean_drift --layers '*.conv' --out figures`
    """
    from rich.console import Console

    from analysis.gallery import write_figures

    console = Console(stderr=True)
    wanted = ",".join(only) if only else None
    with console.status("drawing") as status:
        gallery = write_figures(
            store,
            out,
            only=wanted,
            runs=runs,
            layers=layers,
            formats=formats.split(","),
            paper=paper,
            progress=lambda stem: status.update(f"drawing {stem}"),
        )
    for paths in gallery.written.values():
        typer.echo("  ".join(str(path) for path in paths))
    for stem, reason in gallery.refused.items():
        typer.echo(f"not drawn: {stem}: {reason}", err=True)
    if gallery.refused and (wanted or not gallery.written):
        raise typer.Exit(2)
