"""A GAN run told as any other run is: for sweeps and reproductions."""

from __future__ import annotations

import math
import time
from os import PathLike
from pathlib import Path

from dynamics.gan.config import GanConfig
from dynamics.gan.run import run_gan
from dynamics.runtime.checkpoint import checkpoint_path
from dynamics.runtime.events import Began, Ended, Noted, Stepped, Watch, unwatched

REFRESH_SECONDS = 0.2


def run_gan_watched(
    config: GanConfig,
    *,
    store: str | PathLike[str],
    name: str,
    extractor: str = "trained",
    data_dir: str | PathLike[str] = "data",
    download: bool = False,
    resume: bool = False,
    overwrite: bool = False,
    watch: Watch = unwatched,
) -> Ended:
    """Train generator and critic to the end; see :func:`dynamics.gan.run.run_gan`.

    A run to be resumed that has no checkpoint yet is begun again.
    """
    if resume and not checkpoint_path(store, name).is_file():
        resume, overwrite = False, True
    began, shown = time.monotonic(), 0.0
    progress = run_gan(
        config,
        store=Path(store),
        run=name,
        extractor=extractor,
        data_dir=Path(data_dir),
        download=download,
        resume=resume,
        overwrite=overwrite,
    )
    for number, now in enumerate(progress):
        if number == 0:
            watch(Began(name, epochs=0, steps=config.steps, start=now.step))
        if now.step == config.steps or time.monotonic() - shown > REFRESH_SECONDS:
            watch(Stepped(name, now.step, epoch=0, loss=math.nan))
            shown = time.monotonic()
        scores = {measure: value for measure, value in now.scores.items() if measure.startswith(("is_", "fid_"))}
        if scores:
            told = ", ".join(f"{measure} {value:.4g}" for measure, value in scores.items())
            watch(Noted(name, f"step {now.step:,}/{config.steps:,}: {told}"))
    ended = Ended(name, config.steps, time.monotonic() - began, diverged=False)
    watch(ended)
    return ended
