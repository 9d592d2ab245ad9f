"""The command that trains a GAN. What it needs is imported when it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from dynamics.gan.config import DATA, RECORDS, GanConfig, loss_settings
from dynamics.runtime.options import options

app = typer.Typer()

STORE = "Store"


@app.command()
@options(GanConfig)
def gan(
    settings: dict[str, Any],
    *,
    data_dir: Annotated[Path, typer.Option(help="Folder that holds the data sets.", rich_help_panel=DATA)] = Path(
        "data"
    ),
    download: Annotated[
        bool, typer.Option("--download", help="Fetch a data set not there.", rich_help_panel=DATA)
    ] = False,
    extractor: Annotated[
        str,
        typer.Option(
            help="inception:PATH or resnet20:PATH (weights), trained (a small classifier, on this data), or none.",
            rich_help_panel=RECORDS,
        ),
    ] = "trained",
    store: Annotated[str, typer.Option(help="Folder to record in.", rich_help_panel=STORE)] = "runs",
    run: Annotated[
        str, typer.Option(help="Run id; else made of data, norm, loss and seed.", rich_help_panel=STORE)
    ] = "",
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint.", rich_help_panel=STORE)] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Delete a run of that id first.", rich_help_panel=STORE)
    ] = False,
) -> None:
    """Train generator and critic under one probe, with samples and scores.

    Without --loss, the critic norms bn and none train by the Wasserstein loss with gradient penalty (WGAN-GP), the
    others by softplus (SNGAN, MSNGAN), as in the paper's Table II.

    Example: `meandrift gan --critic-norm msn --width 16 --steps 500`
    """
    from dynamics.gan.run import run as train_gan
    from dynamics.gan.scoring.samples import samples_folder
    from dynamics.runtime.checkpoint import check_checkpoint
    from dynamics.runtime.progress import tell_how_to_go_on, watching

    by_norm = loss_settings(settings.get("norm", GanConfig.norm), settings.get("loss", ""))
    config = GanConfig(**by_norm | settings)
    name = run or config.name
    if resume:
        check_checkpoint(store, name)
    try:
        with watching() as watch:
            train_gan(
                config,
                store=store,
                name=name,
                extractor=extractor,
                data_dir=data_dir,
                download=download,
                resume=resume,
                overwrite=overwrite,
                watch=watch,
            )
    except KeyboardInterrupt:
        tell_how_to_go_on(store, "the same command and --resume")
        raise
    typer.echo(f"{name}: {config.steps:,} generator steps in {store}, samples in {samples_folder(store, name)}")
