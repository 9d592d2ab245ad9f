"""The command that trains a GAN. It imports its modules when it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from dynamics.gan.config import GanConfig, loss_settings
from dynamics.runtime.options import STORE, DataDir, Download, Extractor, Overwrite, Resume, RunId, options

app = typer.Typer()


@app.command()
@options(GanConfig)
def gan(
    settings: dict[str, Any],
    *,
    run: RunId = "",
    resume: Resume = False,
    store: Annotated[str, typer.Option(help="Folder to record in.", rich_help_panel=STORE)] = "runs",
    overwrite: Overwrite = False,
    data_dir: DataDir = Path("data"),
    download: Download = False,
    extractor: Extractor = "trained",
) -> None:
    """Train generator and critic under one probe, with samples and scores.

    Without --loss, the critic norms bn and none train by the Wasserstein loss with gradient penalty (WGAN-GP), the
    others by softplus (SNGAN, MSNGAN), as in the paper's Table II.

    Example: `meandrift gan --critic-norm msn --width 16 --steps 500`
    """
    from dynamics.gan.scoring.samples import samples_folder
    from dynamics.runtime.checkpoint import check_checkpoint
    from dynamics.runtime.progress import watching

    by_norm = loss_settings(settings.get("norm", GanConfig.norm), settings.get("loss", ""))
    config = GanConfig(**by_norm | settings)
    name = run or config.name
    if resume:
        check_checkpoint(store, name)
    with watching(store=store, go_on="the same command and --resume") as watch:
        config.train(
            store=store,
            name=name,
            extractor=extractor,
            data_dir=data_dir,
            download=download,
            resume=resume,
            overwrite=overwrite,
            watch=watch,
        )
    typer.echo(f"{name}: {config.steps:,} generator steps in {store}, samples in {samples_folder(store, name)}")
