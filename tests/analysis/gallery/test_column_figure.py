from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import analysis
from analysis.gallery.column_figure import plot


def test_any_column_is_a_figure_with_a_line_a_layer(small_store: Path, read: Any, plain: Callable[..., Any]) -> None:
    figure = plot("weight_mean", small_store, runs="bn-s0", layers="block1.conv")
    (axes,) = read.panels(figure).values()
    (line,) = read.lines(axes)
    truth = plain(small_store, run="bn-s0", layer="block1.conv")
    assert line[:, 1] == pytest.approx(truth["weight_mean"].to_numpy("float64"))
    assert axes.get_yscale() == "linear"
    assert {text.get_text() for text in figure.texts} & {"weight mean"}


def test_values_over_decades_get_a_logarithmic_axis(make_store: Callable[..., Path], read: Any) -> None:
    figure = plot("grad_var", make_store(norms=["bn"], records=60), runs="bn-s0")
    assert {axes.get_yscale() for axes in read.panels(figure).values()} == {"log"}


def test_a_figure_is_a_picture_in_a_notebook(small_store: Path) -> None:
    assert plot("weight_mean", small_store)._repr_png_().startswith(b"\x89PNG")


def test_a_store_without_histograms_of_weights_says_so(small_store: Path) -> None:
    with pytest.raises(ValueError, match="weight"):
        analysis.weight_histograms(small_store)
