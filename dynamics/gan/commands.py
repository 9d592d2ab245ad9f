"""The command that trains a GAN. What it needs is imported when it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer()

STORE, DATA, NETWORKS, TRAINING, RECORDS = "Store", "Data", "Networks", "Training", "Records and scores"


def _option(panel: str, text: str, **more: Any) -> Any:
    return typer.Option(help=text, rich_help_panel=panel, **more)


@app.command()
def gan(
    *,
    critic_norm: Annotated[str, _option(NETWORKS, "Normalisation of the critic, as of meandrift train.")] = "sn",
    width: Annotated[int, _option(NETWORKS, "Channels of the critic's first layer; all others scale with it.")] = 64,
    latent: Annotated[int, _option(NETWORKS, "Length of the noise vector.")] = 128,
    ema: Annotated[
        float, _option(NETWORKS, "Decay of the generator's average that is sampled and scored; 0: none.")
    ] = 0.0,
    data: Annotated[str, _option(DATA, "mnist-subset (shipped), mnist, cifar10, ...; images of at most 32x32.")] = (
        "mnist-subset"
    ),
    data_dir: Annotated[Path, _option(DATA, "Folder that holds the data sets.")] = Path("data"),
    download: Annotated[bool, typer.Option("--download", help="Fetch a data set not there.", rich_help_panel=DATA)] = (
        False
    ),
    loss: Annotated[
        str, _option(TRAINING, "softplus, hinge, or wasserstein with gradient penalty.", show_default="by norm")
    ] = "",
    steps: Annotated[int, _option(TRAINING, "Generator steps.")] = 10_000,
    critic_steps: Annotated[
        int, _option(TRAINING, "Critic steps before each generator step.", show_default="5 for wasserstein, else 1")
    ] = 0,
    batch_size: Annotated[int, _option(TRAINING, "Real images a step, and as many generated ones.")] = 64,
    learning_rate: Annotated[float, _option(TRAINING, "Adam's learning rate, of both networks.")] = 2e-4,
    beta1: Annotated[float, _option(TRAINING, "Adam's first beta.")] = 0.5,
    beta2: Annotated[float, _option(TRAINING, "Adam's second beta.")] = 0.999,
    seed: Annotated[int, _option(TRAINING, "Seed of weights, order and noise.")] = 0,
    device: Annotated[str, _option(TRAINING, "cpu, cuda, ...; auto: a GPU where there is one.")] = "auto",
    every: Annotated[int, _option(RECORDS, "Generator steps between two records of the probe.")] = 50,
    sample_every: Annotated[int, _option(RECORDS, "Generator steps between two sample grids and checkpoints.")] = 500,
    score_every: Annotated[int, _option(RECORDS, "Generator steps between two scores.")] = 1000,
    extractor: Annotated[
        str,
        _option(
            RECORDS, "inception:PATH or resnet20:PATH (weights), trained (a small classifier, on this data), or none."
        ),
    ] = "trained",
    draws: Annotated[int, _option(RECORDS, "Draws that the last score is the mean of.")] = 5,
    draw_images: Annotated[int, _option(RECORDS, "Images a draw.")] = 2000,
    reference_images: Annotated[
        int, _option(RECORDS, "Real images that distances are taken to.", show_default="all")
    ] = 0,
    store: Annotated[str, _option(STORE, "Folder to record in.")] = "runs",
    run: Annotated[str, _option(STORE, "Run id; else made of data, norm, loss and seed.")] = "",
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
    from dynamics.gan.config import DEFAULT_LOSS, LOSS_OF_NORM, GanConfig
    from dynamics.gan.console import train_before_eyes
    from dynamics.gan.losses import loss_named

    loss = loss or LOSS_OF_NORM.get(critic_norm, DEFAULT_LOSS)
    config = GanConfig(
        norm=critic_norm,
        data=data,
        loss=loss,
        steps=steps,
        critic_steps=critic_steps or loss_named(loss).critic_steps,
        batch_size=batch_size,
        learning_rate=learning_rate,
        beta1=beta1,
        beta2=beta2,
        latent=latent,
        width=width,
        ema=ema,
        seed=seed,
        device=device,
        every=every,
        sample_every=sample_every,
        score_every=score_every,
        draws=draws,
        draw_images=draw_images,
        reference_images=reference_images,
    )
    train_before_eyes(
        config,
        store=store,
        run=run or config.name,
        extractor=extractor,
        data_dir=data_dir,
        download=download,
        resume=resume,
        overwrite=overwrite,
    )
