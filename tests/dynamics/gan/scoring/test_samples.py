"""Noise by name, images in evaluation mode, grids as files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.image import imread
from torch import nn

from dynamics.gan.scoring.samples import forget_grids, generate, grid, noise, samples_folder, write_grid


def test_noise_is_a_function_of_its_name() -> None:
    assert torch.equal(noise(5, 3, seed=0, use="grid"), noise(5, 3, seed=0, use="grid"))
    others = [
        noise(5, 3, seed=1, use="grid"),
        noise(5, 3, seed=0, use="score"),
        noise(5, 3, seed=0, use="grid", number=1),
    ]
    assert not any(torch.equal(noise(5, 3, seed=0, use="grid"), other) for other in others)


def test_images_are_made_in_evaluation_mode_and_the_mode_is_kept() -> None:
    torch.manual_seed(0)
    generator = nn.Sequential(nn.Linear(3, 16), nn.BatchNorm1d(16), nn.Tanh(), nn.Unflatten(1, (1, 4, 4))).train()
    mean = generator[1].running_mean.clone()
    z = torch.randn(5, 3)
    whole = generate(generator, z)
    assert torch.equal(torch.cat([generate(generator, z[:2]), generate(generator, z[2:])]), whole)
    assert torch.equal(generate(generator, z, batch_size=2), whole)
    assert generator.training
    assert torch.equal(generator[1].running_mean, mean)
    assert whole.dtype == torch.uint8


def test_a_grid_holds_image_k_at_row_k_over_columns() -> None:
    pixels = torch.arange(6, dtype=torch.uint8).view(6, 1, 1, 1).expand(6, 3, 2, 2)
    picture = grid(pixels, columns=3)
    assert picture.shape == (4, 6, 3)
    assert picture[::2, ::2, 0].tolist() == [[0, 1, 2], [3, 4, 5]]


def test_a_grid_keeps_images_upright_and_channels_last() -> None:
    image = torch.arange(12, dtype=torch.uint8).view(1, 3, 2, 2)
    assert torch.equal(grid(image, columns=1), image[0].permute(1, 2, 0))


@pytest.mark.parametrize("n", [0, 5])
def test_images_that_do_not_fill_the_rows_are_refused(n: int) -> None:
    with pytest.raises(ValueError, match=f"{n} images do not fill rows of 8: expected a multiple of 8"):
        grid(torch.zeros(n, 1, 4, 4, dtype=torch.uint8))


@pytest.mark.parametrize("channels", [1, 3])
def test_a_written_grid_reads_back_byte_for_byte(channels: int, tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (16, channels, 4, 4), dtype=torch.uint8, generator=generator)
    path = write_grid(tmp_path / "grids", pixels, step=120)
    assert path.name == "step-00000120.png"
    assert [entry.name for entry in path.parent.iterdir()] == [path.name], "nothing half-written is left"
    back = np.rint(imread(path)[:, :, :3] * 255).astype(np.uint8)
    np.testing.assert_array_equal(back, grid(pixels).expand(-1, -1, 3).numpy())


def test_one_seed_writes_the_same_bytes(tmp_path: Path) -> None:
    pixels = torch.zeros(8, 1, 4, 4, dtype=torch.uint8)
    first, second = (write_grid(tmp_path / name, pixels, step=0).read_bytes() for name in ("a", "b"))
    assert first == second


def test_a_resumed_run_forgets_the_grids_beyond_its_checkpoint(tmp_path: Path) -> None:
    folder = samples_folder(tmp_path, "sn")
    assert folder == tmp_path / "samples" / "run=sn"
    for step in (0, 100, 200):
        write_grid(folder, torch.zeros(8, 1, 4, 4, dtype=torch.uint8), step=step)
    forget_grids(folder, after=100)
    assert sorted(path.name for path in folder.iterdir()) == ["step-00000000.png", "step-00000100.png"]
