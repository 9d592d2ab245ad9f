from __future__ import annotations

from pathlib import Path

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from analysis.plotting.style import house_style
from analysis.plotting.tick_labels import scientific, write_plainly


@pytest.mark.parametrize(
    ("value", "text"), [(1.0, "10⁰"), (1e12, "10¹²"), (4e-3, "4×10⁻³"), (-0.5, "−5×10⁻¹"), (0.0, "0")]
)
def test_numbers_are_written_with_raised_digits(value: float, text: str) -> None:
    assert scientific(value) == text


def labels(low: float, high: float, scale: str) -> tuple[list[str], str]:
    figure = Figure()
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.set_yscale(scale)
    axes.set_ylim(low, high)
    write_plainly(axes)
    figure.draw_without_rendering()
    texts = [*axes.get_yticklabels(), *axes.get_yticklabels(minor=True)]
    return [text.get_text() for text in texts if text.get_text()], axes.yaxis.get_offset_text().get_text()


def test_decades_are_labelled_and_within_one_decade_their_parts() -> None:
    assert {"10⁻³", "10⁻²"} <= set(labels(5e-4, 0.05, "log")[0])
    assert "4×10⁻³" in labels(2e-3, 9e-3, "log")[0]


@pytest.mark.parametrize(
    ("low", "high", "told"),
    [
        (20.0, 87.0, {"20", "30", "40", "60"}),
        (0.06, 8.0, {"0.1", "0.2", "0.5", "1", "2", "5"}),
        (2e-4, 9e-3, {"10⁻³", "2×10⁻³", "5×10⁻³"}),
        (3e-5, 2e-2, {"10⁻⁴", "10⁻³", "10⁻²"}),
        (0.5, 2e6, {"10⁰", "10²", "10⁴", "10⁶"}),
    ],
)
def test_an_axis_of_few_decades_has_labels_enough_to_be_read(low: float, high: float, told: set[str]) -> None:
    found = set(labels(low, high, "log")[0])
    assert told <= found
    assert len({label.isascii() for label in found}) == 1  # digits or powers of ten, never both


def test_labelled_parts_of_a_decade_have_ticks_and_grid_lines() -> None:
    with house_style():
        axes = Figure().subplots()
        axes.set(yscale="log", ylim=(20, 87))
        write_plainly(axes)
    (tick, *_) = axes.yaxis.get_minor_ticks()
    assert tick.gridline.get_visible()
    assert tick.tick1line.get_markersize() > 0


def test_a_common_factor_is_raised_too() -> None:
    assert labels(-2e-8, 3e-8, "linear")[1] == "×10⁻⁸"
    assert labels(-2e9, 3e9, "linear")[1] == "×10⁹"
    assert labels(0, 1, "linear")[1] == ""


def test_no_label_needs_mathematical_typesetting(small_store: Path) -> None:
    assert not any("$" in label for scale in ("log", "linear") for label in labels(1e-5, 1e-2, scale)[0])
