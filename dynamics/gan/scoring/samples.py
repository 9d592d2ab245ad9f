"""Images from a generator: the draws that are scored, and grids of fixed noise as PNG files beside the store's tables.

A grid is ``<store>/samples/run=<id>/step-<step>.png`` with 8 bits. Its images stand in rows without gaps, so that a
reader can cut them apart without torch. The noise depends only on the run's seed: image k of every grid of a run is
made from the same z.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from dynamics.data.seeding import generator as stream
from dynamics.gan.images import to_bytes
from dynamics.norms.eval_mode import evaluating
from probes import schema
from probes.schema import check_run_id
from probes.storage.safe_files import check_folder, make_file

if TYPE_CHECKING:
    from torch import Tensor, nn

ROWS = COLUMNS = 8


def noise(count: int, latent: int, *, seed: int, use: str, number: int = 0) -> Tensor:
    """Return standard normal noise ``(count, latent)``, which depends only on the arguments."""
    return torch.randn(count, latent, generator=stream(seed, use, number))


def generate(generator: nn.Module, z: Tensor, *, batch_size: int = 250) -> Tensor:
    """Return images of the generator in evaluation mode, uint8, ``(n, channels, h, w)``, on the generator's device.

    Args:
        generator: Maps noise ``(n, latent)`` to images in -1..1.
        z: Noise.
        batch_size: Images made at once.
    """
    device = next(generator.parameters()).device
    with evaluating(generator), torch.no_grad():
        return torch.cat([to_bytes(generator(part.to(device))) for part in z.split(batch_size)])


def grid(pixels: Tensor, *, columns: int = COLUMNS) -> Tensor:
    """Return one picture of all images in rows, ``(rows * h, columns * w, channels)``.

    Args:
        pixels: uint8, ``(n, channels, h, w)``.
        columns: Images in a row.

    Raises:
        ValueError: The number of images does not fill the rows.
    """
    n, channels, height, width = pixels.shape
    if n == 0 or n % columns:
        raise ValueError(f"{n} images do not fill rows of {columns}: expected a multiple of {columns}, above 0.")
    rows = n // columns
    blocks = pixels.view(rows, columns, channels, height, width)
    return blocks.permute(0, 3, 1, 4, 2).reshape(rows * height, columns * width, channels)


def samples_folder(store: str | os.PathLike[str], run: str) -> Path:
    """Return the folder of a run's sample grids.

    Raises:
        ValueError: The run's id is not allowed, or the store is at a URL.
        UnsafePathError: The folder is a link, or lies in a linked folder.
    """
    root = schema.local_folder(store)
    if root is None:
        raise ValueError(f"store {store}: samples are kept in a local folder; name one.")
    return check_folder(root / schema.SAMPLES / f"run={check_run_id(run)}", root=root)


def write_grid(folder: Path, pixels: Tensor, *, step: int) -> Path:
    """Write a grid as PNG atomically and return its path. A grid of the same step is replaced."""
    from matplotlib.image import imsave

    picture = grid(pixels).cpu()
    rgb = picture.expand(-1, -1, 3).contiguous().numpy()  # grey becomes RGB
    check_folder(folder, root=folder.parents[1], make=True)
    path = folder / f"step-{step:08d}.png"
    partial = folder / f".{path.name}-{os.getpid()}"
    with os.fdopen(make_file(partial), "wb") as file:
        imsave(file, rgb, format="png", metadata={"Software": "meandrift"})
    partial.replace(path)
    return path


def forget_grids(folder: Path, *, after: int) -> None:
    """Remove the grids of steps beyond ``after``: a resumed run makes them again."""
    for path in folder.glob("step-*.png"):
        if int(path.stem.removeprefix("step-")) > after:
            path.unlink()
