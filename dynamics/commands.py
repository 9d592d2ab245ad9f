"""The commands that train: train, sweep and reproduce. What they need is imported when they run."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from dynamics.events import Ended, Failed
from dynamics.options import with_config_options

app = typer.Typer()

Store = Annotated[Path, typer.Option(help="Folder to record in.", rich_help_panel="Store")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Delete what is there first.", rich_help_panel="Store")]
DataDir = Annotated[Path, typer.Option(help="Folder that holds the data sets.", rich_help_panel="Data")]
Download = Annotated[bool, typer.Option("--download", help="Fetch a data set not there.", rich_help_panel="Data")]
Workers = Annotated[int, typer.Option(help="Runs at a time, a process each; 0: one a CPU.", rich_help_panel="Machine")]
Protocol = Annotated[str, typer.Option(help="Settings of the paper's text (paper) or scripts (released).")]


@app.command()
@with_config_options()
def train(
    settings: dict[str, Any],
    *,
    run: Annotated[str, typer.Option(help="Run id; else made of model, norm, rate and seed.")] = "",
    protocol: Protocol = "",
    from_run: Annotated[str, typer.Option(help="Settings of a stored run.")] = "",
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run where it stopped.")] = False,
    store: Store = Path("runs"),
    overwrite: Overwrite = False,
    data_dir: DataDir = Path("data"),
    download: Download = False,
) -> None:
    """Train one network under probes and record it.

    Options that are given go before the settings of a protocol or a stored run.

    Example: `meandrift train --norm bn --epochs 3 --run bn-s0`
    """
    from dynamics.progress import watching
    from dynamics.recipe import recipe
    from dynamics.run import run as train_run

    if resume and not run:
        raise ValueError("--resume: say which run goes on with --run ID; `meandrift runs` lists those there are.")
    config = recipe(settings, store=store, from_run=from_run, protocol_name=protocol, resumed=run if resume else "")
    name = run or config.name
    try:
        with watching() as watch:
            train_run(
                config,
                store=store,
                name=name,
                data_dir=data_dir,
                download=download,
                resume=resume,
                overwrite=overwrite,
                watch=watch,
            )
    except KeyboardInterrupt:
        _say_how_to_go_on(store, f"meandrift train --resume --run {name} --store {store} --data-dir {data_dir}")
        raise
    typer.echo(f"{name} is in {store}: pd.read_parquet('{store}/layers', filters=[('run', '==', '{name}')])")


@app.command()
def reproduce(
    *,
    store: Store = Path("runs"),
    out: Annotated[
        Path | None, typer.Option(help="Folder for figures and tables.", show_default="STORE/figures")
    ] = None,
    overwrite: Overwrite = False,
    workers: Workers = 0,
) -> None:
    """Train the 3-layer CNN with BN, SN and MSN on the shipped digits and draw the paper's figures.

    About two minutes on two cores; no download. Run again, it goes on where it stopped, and draws the figures anew.
    """
    from rich.console import Console

    from analysis.gallery import write_figures
    from dynamics.progress import watching
    from dynamics.reproduce import results, show, tasks, write
    from dynamics.sweep import sweep

    out = out or store / "figures"
    todo = tasks(store, overwrite=overwrite)
    for task in todo:
        if task.done:
            typer.echo(f"{task.run} is finished in {store}: kept (--overwrite would delete it and train it again)")
    try:
        with watching() as watch:
            ends = sweep(todo, store=store, workers=workers, watch=watch)
    except KeyboardInterrupt:
        _say_how_to_go_on(store, f"meandrift reproduce --store {store} --out {out}")
        raise
    _exit_if_any_failed(ends)
    runs = [task.run for task in todo]
    gallery = write_figures(store, out, runs=runs)
    table = results(store, runs)
    show(table, Console())
    written = write(table, out)
    for paths in [*gallery.written.values(), written]:
        typer.echo("  ".join(str(path) for path in paths))
    for name, reason in gallery.refused.items():
        typer.echo(f"not drawn: {name}: {reason}", err=True)


def _exit_if_any_failed(ends: Sequence[Ended | Failed]) -> None:
    """Leave with status 1 if a run has failed; the reason has been printed when it came."""
    if any(isinstance(end, Failed) for end in ends):
        raise typer.Exit(1)


def _say_how_to_go_on(store: Path, command: str) -> None:
    print(f"stopped: what was recorded is in {store}, whole and readable. Go on with: {command}", file=sys.stderr)
