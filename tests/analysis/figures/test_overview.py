from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PolyCollection, QuadMesh
from matplotlib.colors import LogNorm, TwoSlopeNorm

from analysis.figures.overview import color_scale, step_edges
from analysis.gallery.figure import figure, prepare


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
    assert [(box.x0, box.x1, box.y0, box.y1) for box in boxes] == [(275, 475, i - 0.5, i + 0.5) for i in range(4)]


def test_negative_cells_are_dotted_for_greyscale(make_store: Callable[..., Path], read: Any) -> None:
    store = make_store(norms=["sn"], records=10)  # its means are negative and grow
    picture = figure("overview", store)
    axes = read.panels(picture)["SN"]
    (mesh,) = (mesh for mesh in axes.collections if isinstance(mesh, QuadMesh))
    assert isinstance(mesh.norm, TwoSlopeNorm)
    (dotted,) = (c for c in axes.collections if isinstance(c, PolyCollection) and c.get_hatch() == "......")
    cells, edges = mesh.get_array().reshape(4, 10), mesh.get_coordinates()[0, :, 0]
    covered = np.zeros((4, 10), bool)
    for box in (path.get_extents() for path in dotted.get_paths()):
        covered[int(box.y0 + 0.5), np.searchsorted(edges, box.x0) : np.searchsorted(edges, box.x1)] = True
    assert (covered == (cells < 0.2 * mesh.norm.vmin)).all()
    assert covered.any()
    assert not covered.all()
    assert any("; dotted: clearly negative" in text.get_text() for text in picture.texts)


def test_the_cells_fill_their_panel(small_store: Path, read: Any) -> None:
    for name in ("overview", "gradient_histogram_map"):
        for axes in read.panels(figure(name, small_store)).values():
            edges = next(mesh for mesh in axes.collections if isinstance(mesh, QuadMesh)).get_coordinates()[0, :, 0]
            assert axes.get_xlim() == (edges[0], edges[-1])


@pytest.mark.parametrize(
    ("values", "kind", "colors"),
    [
        ([1e-6, 1e-3, 1.0], LogNorm, "viridis"),
        ([-1.0, 0.0, 3.0], TwoSlopeNorm, "PuOr_r"),
        ([1.0, 2.0, 3.0], None, "viridis"),
        ([-3.0, -2.0, -1.0], None, "viridis_r"),
        ([np.nan, np.inf], None, "viridis"),
        ([0.0, 0.0], None, "viridis_r"),
    ],
)
def test_the_scale_of_colours_follows_the_values(values: list[float], kind: type | None, colors: str) -> None:
    norm, colormap = color_scale(np.array(values))
    assert kind is None or type(norm) is kind
    assert colormap == colors
    assert norm.vmin < norm.vmax


def test_the_middle_of_two_hues_is_zero() -> None:
    norm, _ = color_scale(np.array([-1.0, 0.0, 3.0]))
    assert norm(0.0) == 0.5
    assert norm.vmax == -norm.vmin


def test_cells_reach_half_way_to_their_neighbours() -> None:
    np.testing.assert_allclose(step_edges(np.array([0.0, 10.0, 30.0])), [-5.0, 5.0, 20.0, 40.0])
    np.testing.assert_allclose(step_edges(np.array([7.0])), [6.5, 7.5])
