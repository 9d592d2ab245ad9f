"""The commands train, sweep, reproduce and params. Each imports its modules when it runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dynamics.classifier.config import RunConfig
from dynamics.runtime.events import Ended, Failed
from dynamics.runtime.options import DataDir, Download, Extractor, Overwrite, Resume, RunId, Store, options
from probes.schema import local_folder

if TYPE_CHECKING:
    from dynamics.sweeps.task import Task

app = typer.Typer()

Workers = Annotated[
    int,
    typer.Option(
        help="Runs at a time, each in a process. 0: one for each CPU, or more if all then finish sooner.",
        rich_help_panel="Machine",
    ),
]
PlanOption = Annotated[
    str, typer.Option(help="Arms and seeds of this TOML file, or shipped plan: docs/experiments.md.")
]
Estimate = Annotated[bool, typer.Option("--estimate", help="Say how long the plan will take, and train nothing.")]
Protocol = Annotated[str, typer.Option(help="Settings of the paper's text (paper) or scripts (released).")]


@app.command()
@options(RunConfig)
def train(
    settings: dict[str, Any],
    *,
    run: RunId = "",
    protocol: Protocol = "",
    from_run: Annotated[str, typer.Option(help="Settings of a stored run.")] = "",
    resume: Resume = False,
    store: Store = "runs",
    overwrite: Overwrite = False,
    data_dir: DataDir = Path("data"),
    download: Download = False,
) -> None:
    """Train one network under probes and record it.

    Options on the command line override the settings of a protocol or of a stored run. With torchrun, several processes
    share one run: `torchrun --nproc-per-node 4 -m dynamics train --run-id big ...`

    Example: `meandrift train --norm bn --epochs 3 --run bn-s0`
    """
    from dynamics.classifier.config_sources import requested_config
    from dynamics.runtime.allocator import keep_freed_memory
    from dynamics.runtime.progress import watching
    from dynamics.runtime.ranks import environment
    from dynamics.sweeps.task import task_for

    if resume and not run:
        raise ValueError("--resume: say which run goes on with --run ID; `meandrift runs` lists those there are.")
    resumed = run if resume else ""
    config = requested_config(settings, store=store, from_run=from_run, protocol_name=protocol, resumed=resumed)
    name, speaks = run or config.name, environment().first
    if resume and task_for(store, name, config).done:
        typer.echo(f"{name} is finished in {store}: nothing to go on with (--epochs N trains it for longer)")
        return
    keep_freed_memory()
    go_on = f"meandrift train --resume --run {name} --store {quote(store)} --data-dir {quote(str(data_dir))}"
    with watching(speaks=speaks, store=store, go_on=go_on) as watch:
        config.train(
            store=store,
            name=name,
            data_dir=data_dir,
            download=download,
            resume=resume,
            overwrite=overwrite,
            watch=watch,
        )
    if speaks:
        typer.echo(f"{name} is in {store}: pd.read_parquet('{store}/layers', filters=[('run', '==', '{name}')])")


@app.command()
@options(RunConfig, several=True)
def sweep(
    settings: dict[str, str],
    *,
    plan: PlanOption = "",
    estimate: Estimate = False,
    protocol: Protocol = "",
    workers: Workers = 0,
    cluster: Annotated[
        str,
        typer.Option(
            help="Train on a Ray cluster: auto, an address, or local (needs the extra ray).", rich_help_panel="Machine"
        ),
    ] = "",
    gpus: Annotated[float, typer.Option(help="GPUs a run takes on the cluster.", rich_help_panel="Machine")] = 0.0,
    store: Store = "runs",
    overwrite: Overwrite = False,
    data_dir: DataDir = Path("data"),
    download: Download = False,
) -> None:
    """Train every combination of the given values. An option takes several, separated by commas.

    Each run is named after the settings in which the runs differ. The same command, given again, trains the missing
    runs and continues the stopped ones. With --plan, arms and seeds come from a file; options on the command line
    override its settings, and an estimate of the time is printed first.

    Example: `meandrift sweep --norm bn,sn,msn --learning-rate 0.1,0.001,0.0001 --seed 0,1`
    """
    from dynamics.classifier.config_sources import requested_config
    from dynamics.sweeps.grid import grid, parse_axes
    from dynamics.sweeps.task import task_for

    axes = parse_axes(settings)
    if estimate and not plan:
        raise ValueError("--estimate: expected --plan FILE.toml with it.")
    if plan:
        from dynamics.sweeps.plans.planned import planned_configs

        if protocol:
            raise ValueError("--plan and --protocol were given: expected one source of settings.")
        configs = planned_configs([plan], axes)
    else:
        first = {name: values[0] for name, values in axes.items()}
        configs = grid(requested_config(first, store=store, protocol_name=protocol), axes)
    tasks = [task_for(store, run, config, overwrite=overwrite) for run, config in configs.items()]
    if plan:
        tasks = _estimated(tasks, store=store, workers=workers, data_dir=data_dir, download=download)
        if estimate:
            return
    go_on = f"the same command{' without --overwrite' if overwrite else ''}"
    if not cluster:
        _train_side_by_side(tasks, store=store, workers=workers, data_dir=data_dir, download=download, go_on=go_on)
        return
    from dynamics.runtime.progress import watching
    from dynamics.sweeps.ray_cluster import sweep_on_ray

    address = "" if cluster == "local" else cluster
    with watching(store=store, go_on=go_on) as watch:
        ends = sweep_on_ray(
            tasks, store=store, data_dir=data_dir, download=download, address=address, gpus=gpus, watch=watch
        )
    _leave_if_any_failed(ends)


@app.command()
def reproduce(
    *,
    experiment: Annotated[
        str,
        typer.Option(
            help="cnn3-subset (shipped), cnn3-mnist, vgg7-svhn, vgg7-cifar10, densenet-cifar10, gan-cifar10, all; "
            "or causes, the interventions of docs/experiments.md."
        ),
    ] = "cnn3-subset",
    quick: Annotated[bool, typer.Option("--quick", help="Fewer epochs, for a machine without a GPU.")] = False,
    extractor: Extractor = "trained",
    store: Store = "runs",
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for figures and tables.", rich_help_panel="Store", show_default="STORE/figures"),
    ] = None,
    overwrite: Overwrite = False,
    workers: Workers = 0,
    data_dir: DataDir = Path("data"),
    download: Download = False,
) -> None:
    """Train the paper's comparison of BN, SN and MSN and draw its figures and tables.

    Without options it trains the 3-layer CNN on digits that ship with the package, for two minutes on two cores,
    without a download. The same command, given again, continues where it stopped and draws the figures again.

    Example: `meandrift reproduce --experiment cnn3-mnist --quick --download`
    """
    from rich.console import Console

    from dynamics.sweeps.experiments import experiments_named
    from dynamics.sweeps.reproduce import as_text, draw
    from dynamics.sweeps.task import task_for

    chosen = experiments_named(experiment)
    configs = {run: config for one in chosen.values() for run, config in one.runs(quick=quick).items()}
    tasks = [task_for(store, run, config, overwrite=overwrite, extractor=extractor) for run, config in configs.items()]
    if experiment == "causes":
        tasks = _estimated(tasks, store=store, workers=workers, data_dir=data_dir, download=download)
    place = f"--store {quote(store)} --data-dir {quote(str(data_dir))}"
    go_on = f"meandrift reproduce --experiment {experiment}{' --quick' * quick} {place}"
    _train_side_by_side(tasks, store=store, workers=workers, data_dir=data_dir, download=download, go_on=go_on)
    pictured = [run for one in chosen.values() if one.pictured for run in one.runs(quick=quick)]
    drawn = draw(store, pictured, out=out or (local_folder(store) or Path(store)) / "figures")
    console = Console(soft_wrap=True)
    for name, one in chosen.items():
        console.print(as_text(one.results(store, quick=quick), title=f"{name}: {one.title}"))
    for files in drawn.files:
        typer.echo("  ".join(map(str, files)))
    if drawn.refused:
        why = f"`meandrift figures {store}` and `meandrift tables {store}` say why"
        typer.echo(f"not for these runs: {', '.join(drawn.refused)} ({why})")


@app.command()
def params(
    *,
    formats: Annotated[str, typer.Option("--format", help="table or csv.")] = "table",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Count the parameters of the paper's networks beside its Table III, with the reason of each difference.

    Example: `meandrift params --format csv`
    """
    from rich.console import Console
    from rich.table import Table

    from dynamics.models.parameter_counts import table3

    if formats not in ("table", "csv"):
        raise ValueError(f"format {formats!r}: expected table or csv.")
    counts = table3()
    if as_json:
        typer.echo(counts.to_json(orient="records", indent=2))
        return
    if formats == "csv":
        typer.echo(counts.to_csv(index=False), nl=False)
        return
    shown = Table()
    for column in counts.columns:
        shown.add_column(column.replace("_", " "), justify="left" if counts[column].dtype.kind in "OU" else "right")
    for row in counts.itertuples(index=False):
        shown.add_row(*(f"{value:,}" if isinstance(value, int) else str(value) for value in row))
    Console().print(shown)


def _estimated(tasks: Sequence[Task], *, store: str, workers: int, data_dir: Path, download: bool) -> list[Task]:
    """Print how long the tasks will take; return them in an order that keeps the cores busy."""
    from rich.console import Console

    from dynamics.sweeps.plans.estimate import estimate_sweep, longest_first
    from dynamics.sweeps.plans.planned import as_table
    from dynamics.sweeps.task import check

    check(tasks, data_dir=data_dir, download=download)
    found = estimate_sweep(tasks, store=store, data_dir=data_dir)
    Console(soft_wrap=True).print(as_table(tasks, found, workers=workers))
    return longest_first(tasks, found)


def _train_side_by_side(
    tasks: Sequence[Task],
    *,
    store: str,
    workers: int,
    go_on: str,
    data_dir: Path = Path("data"),
    download: bool = False,
) -> None:
    """Train runs with progress on the console; exit with status 1 if a run has failed."""
    from dynamics.runtime.progress import watching
    from dynamics.sweeps.processes import sweep
    from dynamics.sweeps.task import check

    check(tasks, data_dir=data_dir, download=download)
    for task in tasks:
        if task.done:
            typer.echo(f"{task.run} is finished in {store}: kept (--overwrite would delete it and train it again)")
    with watching(store=store, go_on=go_on) as watch:
        ends = sweep(tasks, store=store, data_dir=data_dir, download=download, workers=workers, watch=watch)
    _leave_if_any_failed(ends)


def _leave_if_any_failed(ends: Sequence[Ended | Failed]) -> None:
    if any(isinstance(end, Failed) for end in ends):
        raise typer.Exit(1)
