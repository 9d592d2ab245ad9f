from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from matplotlib.figure import Figure

import analysis
from analysis.gallery.column_figure import plot
from probes import Recorder


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


def record(store: Path, count: int) -> None:
    """Record some layers with a norm layer behind each, which has no spectral norm; its weights are 1."""
    with Recorder(store, "r") as recorder:
        for step in range(3):
            rows = [
                {"layer": f"{i}{end}", "layer_index": 2 * i + bool(end), "layer_type": kind}
                for i in range(count)
                for end, kind in (("", "Linear"), (".norm", "BatchNorm1d"))
            ]
            mean = [float(row["layer_type"] != "Linear") for row in rows]
            norm = [1.0 if row["layer_type"] == "Linear" else None for row in rows]
            names = {key: [row[key] for row in rows] for key in rows[0]}
            table = pa.table({"step": [step] * len(rows), **names, "weight_mean": mean, "spectral_norm": norm})
            recorder.write("layers", table.to_batches()[0])


def words(figure: Figure) -> str:
    return " ".join(text.get_text() for text in figure.texts)


@pytest.mark.parametrize("count", [3, 12])
def test_normalisation_layers_are_drawn_and_layers_without_the_column_are_named(
    count: int, tmp_path: Path, read: Any
) -> None:
    record(tmp_path, count)
    drawn = plot("weight_mean", tmp_path)
    each = [f"{i}{end}" for i in range(3) for end in ("", ".norm")]
    thirds = [f"{part} 4 {kind}" for kind in ("layers", "norm layers") for part in ("first", "middle", "last")]
    assert read.legend(drawn) == (each if count == 3 else thirds)
    (axes,) = read.panels(drawn).values()
    assert sorted(line[-1, 1] for line in read.lines(axes)) == [0.0] * 3 + [1.0] * 3
    assert "left out" not in words(drawn)
    lacking = words(plot("spectral_norm", tmp_path))
    assert "left out, because they have no such number: 0.norm, 1.norm, 2.norm" in lacking
    assert ("3.norm and 8 more" in lacking) is (count == 12)
    assert "left out" not in words(plot("spectral_norm", tmp_path, layers=["0", "1"]))


@pytest.mark.parametrize("column", ["loss", "accuracy"])
def test_a_logged_number_is_a_line_in_a_panel_of_each_split(column: str, small_store: Path, read: Any) -> None:
    panels = read.panels(plot(column, small_store, runs="bn-s0"))
    rows = analysis.steps(small_store, runs="bn-s0", columns=[column], measured=[column])
    assert list(panels) == ["train", "test"]
    for split, axes in panels.items():
        (line,) = read.lines(axes)
        truth = rows[rows["split"] == split]
        assert line[:, 0] == pytest.approx(truth["step"].to_numpy("float64"))
        assert line[:, 1] == pytest.approx(truth[column].to_numpy("float64"))


def test_a_logged_number_can_be_smoothed_and_has_no_layers(small_store: Path, read: Any) -> None:
    rows = analysis.steps(small_store, runs="bn-s0", columns=["loss"])
    of_train = rows[rows["split"] == "train"]["loss"].to_numpy("float64")
    (line,) = read.lines(read.panels(plot("loss", small_store, runs="bn-s0", smooth=2))["train"])
    assert line[1:, 1] == pytest.approx((of_train[1:] + of_train[:-1]) / 2)
    with pytest.raises(ValueError, match=r"'loss' is of the whole network, in table 'steps': leave out layers="):
        plot("loss", small_store, layers="block1.conv")


def test_a_column_of_another_table_names_the_function_that_reads_it(small_store: Path) -> None:
    with pytest.raises(ValueError, match=r"'counts' is in table 'histograms', which md.histograms\(store\) reads"):
        plot("counts", small_store)
    with pytest.raises(ValueError, match="needs wieght_mean in table 'layers'"):
        plot("wieght_mean", small_store)
