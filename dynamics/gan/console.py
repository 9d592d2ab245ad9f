"""A GAN run before a person's eyes: a bar on a terminal, a line at each score elsewhere."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from dynamics.gan.run import Progress, run_gan

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dynamics.gan.config import GanConfig


def train_before_eyes(
    config: GanConfig,
    *,
    store: Path | str,
    run: str,
    extractor: str,
    data_dir: Path,
    download: bool,
    resume: bool,
    overwrite: bool,
) -> None:
    """Train, telling how far it is; arguments as :func:`dynamics.gan.run.run_gan`."""
    progress = run_gan(
        config,
        store=store,
        run=run,
        extractor=extractor,
        data_dir=data_dir,
        download=download,
        resume=resume,
        overwrite=overwrite,
    )
    try:
        last = _bar(progress, run, config.steps) if sys.stdout.isatty() else _lines(progress, run, config.steps)
    except KeyboardInterrupt:
        print(f"\nstopped: all that {run} recorded is in {store}. Go on with the same command and --resume.")
        raise
    print(
        f"{run}: {config.steps:,} generator steps in {store}"
        + (f", samples in {last.grid.parent}" if last.grid else "")
    )


def _lines(progress: Iterator[Progress], run: str, steps: int) -> Progress:
    """Print one line at each score."""
    since = time.monotonic()
    for now in progress:
        if now.scores:
            seconds = time.monotonic() - since
            told = _told(_of_images(now.scores) or now.scores)
            print(f"{run} step {now.step:,}/{steps:,}: {told}, {seconds:.0f} s", flush=True)
    return now


def _bar(progress: Iterator[Progress], run: str, steps: int) -> Progress:
    """Show a bar with the last scores."""
    columns = (
        TextColumn("[bold]{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[scores]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Bar(*columns) as bar:
        task = bar.add_task(run, total=steps, scores="")
        for now in progress:
            if now.scores:
                bar.update(task, scores=_told(_of_images(now.scores)))
            bar.update(task, completed=now.step)
    return now


def _of_images(scores: dict[str, float]) -> dict[str, float]:
    """Return inception scores and Frechet distances alone."""
    return {name: value for name, value in scores.items() if name.startswith(("is_", "fid_"))}


def _told(scores: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in scores.items() if not name.endswith("_std"))
