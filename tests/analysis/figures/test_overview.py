from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PolyCollection, QuadMesh
from matplotlib.colors import LogNorm, SymLogNorm, TwoSlopeNorm, to_hex

from analysis.gallery.figure import figure, prepare
from analysis.plotting.axes.cells import color_scale, diverging, step_edges
from analysis.plotting.style import PALE


def cells(axes: Any) -> list[np.ma.MaskedArray]:
    return [
        mesh.get_array().reshape(-1, len(mesh.get_coordinates()[0]) - 1)
        for mesh in axes.collections
        if isinstance(mesh, QuadMesh)
    ]


def test_the_cells_are_the_column_layer_by_step(
    small_store: Path, plain: Callable[..., pd.DataFrame], read: Any
) -> None:
    picture = figure("overview", small_store, column="stable_rank")
    (mesh,) = cells(read.panels(picture)["SN"])
    wide = plain(small_store, run="sn-s0").pivot(index="layer", columns="step", values="stable_rank")
    np.testing.assert_allclose(mesh, wide.loc[["block1.conv", "block2.conv", "block3.conv", "classifier"]])


def test_nan_cells_are_red_and_named(make_store: Callable[..., Path], read: Any) -> None:
    picture = figure("overview", make_store(norms=["sn"], records=10, nan_from={"sn-s0": 6}))
    values, alarm = cells(read.panels(picture)["SN"])
    assert values.mask[:, 6:].all()
    assert not values.mask[:, :6].any()
    assert (alarm.mask == ~values.mask).all()
    assert read.legend(picture) == ["NaN in at least one run"]


def test_any_column_can_be_chosen_and_the_title_says_which(small_store: Path) -> None:
    picture = figure("singular_value_map", small_store, column="spectral_norm")
    assert "Singular values over depth and time: spectral norm" in [text.get_text() for text in picture.texts]
    assert prepare("singular_value_map", small_store).spec.needed() == ("singular_value_mean",)


def test_nan_cells_are_hatched_for_greyscale(make_store: Callable[..., Path], read: Any) -> None:
    picture = figure("overview", make_store(norms=["sn"], records=10, nan_from={"sn-s0": 6}))
    axes = read.panels(picture)["SN"]
    (hatched,) = (c for c in axes.collections if isinstance(c, PolyCollection) and c.get_hatch() == "////")
    boxes = [path.get_extents() for path in hatched.get_paths()]
    assert [(box.x0, box.x1, box.y0, box.y1) for box in boxes] == [(275, 450, i - 0.5, i + 0.5) for i in range(4)]


def test_one_layer_does_not_own_the_colours(make_store: Callable[..., Path], read: Any) -> None:
    values = np.concatenate([np.full(30, 0.01), np.full(30, -0.01), np.full(4, 5.0)])
    norm, _ = color_scale(values)
    assert norm(0.01) - norm(-0.01) > 0.2  # the layers of small values are told apart
    linear, _ = color_scale(values, signed=True)
    assert linear(0.01) - linear(-0.01) < 0.01


def test_what_was_not_measured_is_grey(small_store: Path, read: Any) -> None:
    axes = read.panels(figure("overview", small_store))["SN"]
    assert to_hex(axes.get_facecolor()) == PALE


def test_the_cells_fill_their_panel(small_store: Path, read: Any) -> None:
    for name in ("overview", "gradient_histogram_map"):
        for axes in read.panels(figure(name, small_store)).values():
            edges = next(mesh for mesh in axes.collections if isinstance(mesh, QuadMesh)).get_coordinates()[0, :, 0]
            assert axes.get_xlim() == (edges[0], edges[-1])


@pytest.mark.parametrize(
    ("values", "kind", "colors"),
    [
        ([1e-6, 1e-3, 1.0], LogNorm, "viridis"),
        ([-1.0, 0.0, 3.0], TwoSlopeNorm, "vlag"),
        ([1.0, 2.0, 2.9], None, "viridis"),
        ([1.0, 1.0, 1.0, 7.0], LogNorm, "viridis"),
        ([-1.0, 0.5, 1.0, 100.0], SymLogNorm, "vlag"),
        ([-3.0, -2.0, -1.0], None, "viridis_r"),
        ([np.nan, np.inf], None, "viridis"),
        ([0.0, 0.0], None, "viridis_r"),
    ],
)
def test_the_scale_of_colours_follows_the_values(values: list[float], kind: type | None, colors: str) -> None:
    norm, colormap = color_scale(np.array(values))
    assert kind is None or type(norm) is kind
    assert (colormap == diverging()) if colors == "vlag" else (colormap == colors)
    assert norm.vmin < norm.vmax


def test_the_middle_of_two_hues_is_zero() -> None:
    norm, _ = color_scale(np.array([-1.0, 0.0, 3.0]), signed=True)
    assert norm(0.0) == 0.5
    assert norm.vmax == -norm.vmin


def test_cells_reach_half_way_to_their_neighbours_and_not_beyond_the_records() -> None:
    np.testing.assert_allclose(step_edges(np.array([0.0, 10.0, 30.0])), [0.0, 5.0, 20.0, 30.0])
    np.testing.assert_allclose(step_edges(np.array([7.0])), [6.5, 7.5])
