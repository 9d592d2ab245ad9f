"""What every figure of the registry keeps to, whatever the store."""

from __future__ import annotations

import functools
import itertools
import json
from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from analysis.figures import FIGURES
from analysis.gallery.figure import prepare
from analysis.gallery.provenance import provenance, table_text
from analysis.plotting.figure_spec import Prepared

# These need what the synthetic stores of this file do not have: several learning rates or widths; a GAN's columns.
PLAIN = [name for name in FIGURES if name not in {"learning_rates", "coordinate_check"} and not name.startswith("gan_")]
# Every published figure of the paper has a preset here.
PAPER = ["Fig. 1", "Fig. 2", "Fig. 3", "Fig. 4", "Fig. 5", "Fig. 6"]


def drawn(name: str, store: Path, **options: object) -> Figure:
    figure = prepare(name, store, **options).draw()
    FigureCanvasAgg(figure)
    figure.draw_without_rendering()  # lays it out
    return figure


@functools.cache
def drawn_once(name: str, store: Path) -> Figure:
    """Return a figure of a store that no test writes to; nobody changes it."""
    return drawn(name, store)


@functools.cache
def prepared_once(name: str, store: Path) -> Prepared:
    return prepare(name, store)


def panels(figure: Figure) -> list[mpl.axes.Axes]:
    return [axes for axes in figure.axes if axes.get_visible() and axes.get_subplotspec() is not None]


def shown_texts(figure: Figure) -> list[Text]:
    """Return every text but the numbers on axes, most of which matplotlib keeps outside the view and never draws."""
    texts = [*figure.texts, *(text for legend in figure.legends for text in legend.get_texts())]
    texts += [text for text in (figure._supxlabel, figure._supylabel) if text is not None]
    for axes in figure.axes:
        if axes.get_visible():
            texts += [axes.title, axes._left_title, axes.xaxis.label, axes.yaxis.label, *axes.texts]
    return [text for text in texts if text.get_text().strip()]


def test_the_registry_names_each_published_figure_once() -> None:
    assert sorted(spec.paper for spec in FIGURES.values() if spec.paper) == PAPER


def test_a_figure_is_named_as_its_file() -> None:
    for name, spec in FIGURES.items():
        assert spec.__module__ == f"analysis.figures.{name}"
        assert spec.name == name


@pytest.mark.parametrize("name", PLAIN)
def test_a_figure_of_a_hundred_layers_is_legible(name: str, deep_store: Path) -> None:
    check_legible(drawn_once(name, deep_store))


@pytest.mark.parametrize("name", PLAIN)
def test_a_figure_of_three_layers_and_ten_seeds_one_nan_one_short_is_legible(name: str, seeds_store: Path) -> None:
    check_legible(drawn_once(name, seeds_store))


@pytest.mark.parametrize("name", PLAIN)
def test_a_figure_of_one_run_with_one_step_is_legible(name: str, make_store: Callable[..., Path]) -> None:
    check_legible(drawn(name, make_store(norms=["sn"], records=1)))


@pytest.mark.parametrize("name", ["mean_drift", "singular_values", "accuracy", "norms_by_layer", "spectrum"])
def test_a_figure_of_runs_without_configuration_names_the_runs(name: str, make_store: Callable[..., Path]) -> None:
    figure = prepare(name, make_store(with_config=False, records=3)).draw()
    texts = " ".join(text.get_text() for text in shown_texts(figure))
    assert all(run in texts for run in ("bn-s0", "sn-s0", "msn-s0"))


def check_legible(figure: Figure) -> None:
    assert panels(figure)
    assert len(panels(figure)) <= 24
    assert len(legend_labels(figure)) <= 12
    check_inside(figure)
    check_no_overlap(figure)


@pytest.mark.parametrize("name", ["singular_values", "lipschitz", "landscape", "gradient_mass", "layer_means"])
def test_a_formula_is_drawn_as_mathematics_and_no_other_text_is(name: str, seeds_store: Path) -> None:
    texts = shown_texts(drawn_once(name, seeds_store))
    [formula] = [text for text in texts if "$" in text.get_text()]
    assert [text for text in texts if text.get_parse_math()] == [formula]
    width = formula.get_window_extent().width
    source = Text(0, 0, formula.get_text(), fontsize=formula.get_fontsize(), parse_math=False)
    source.set_figure(formula.get_figure())
    assert width < source.get_window_extent().width


@pytest.mark.parametrize("name", ["spectrum", "gradient_histogram_map", "layer_means", "norms_by_layer", "overview"])
def test_a_figure_of_six_arms_names_each_and_is_legible(name: str, make_store: Callable[..., Path]) -> None:
    figure = drawn(name, make_store(learning_rates=(0.01, 0.001), records=4))
    check_legible(figure)
    titles = " ".join(axes.get_title(loc="left") for axes in panels(figure))
    assert all(f"{norm}, learning rate {rate}" in titles for norm in ("BN", "SN", "MSN") for rate in (0.01, 0.001))


@pytest.mark.parametrize("name", ["mean_drift", "singular_values", "gradient_histogram_map", "overview"])
def test_numbers_under_the_panels_of_a_long_training_stand_apart(name: str, make_store: Callable[..., Path]) -> None:
    for axes in panels(drawn(name, make_store(records=20, every=2463))):  # up to step 46,797
        low, high = axes.get_xlim()
        ticks = [tick for tick in axes.xaxis.get_major_ticks() if low <= tick.get_loc() <= high]
        boxes = [tick.label1.get_window_extent() for tick in ticks if tick.label1.get_visible()]
        assert len(ticks) >= 2
        assert all(left.x1 + 2 < right.x0 for left, right in itertools.pairwise(boxes))


def legend_labels(figure: Figure) -> list[str]:
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def check_inside(figure: Figure) -> None:
    page = figure.bbox.padded(1.5)
    for text in shown_texts(figure):
        box = text.get_window_extent()
        inside = page.x0 <= box.x0 and box.x1 <= page.x1 and page.y0 <= box.y0 and box.y1 <= page.y1
        assert inside, f"{text.get_text()!r} runs off the page: {box} of {page}"


def check_no_overlap(figure: Figure) -> None:
    heads = [text for text in figure.texts if text.get_text()] + [axes.title for axes in panels(figure)]
    heads += [axes._left_title for axes in panels(figure)]
    boxes = [(text.get_text(), text.get_window_extent()) for text in heads if text.get_text()]
    boxes += [("legend", legend.get_window_extent()) for legend in figure.legends]
    for i, (text, box) in enumerate(boxes):
        for other, with_box in boxes[i + 1 :]:
            assert not box.overlaps(with_box), f"{text!r} overlaps {other!r}"


def test_the_overlap_check_sees_an_overlap() -> None:
    figure = Figure()
    FigureCanvasAgg(figure)
    figure.text(0.1, 0.5, "one title")
    figure.text(0.12, 0.5, "another")
    with pytest.raises(AssertionError, match="'one title' overlaps 'another'"):
        check_no_overlap(figure)


def test_the_page_check_sees_a_note_that_runs_off() -> None:
    figure = Figure()
    FigureCanvasAgg(figure)
    figure.text(0.9, 0.5, "a note that is much too long for the little room that is left for it here")
    with pytest.raises(AssertionError, match="runs off the page"):
        check_inside(figure)


@pytest.mark.parametrize("name", PLAIN)
def test_title_and_axes_say_what_they_are(name: str, seeds_store: Path) -> None:
    figure = drawn_once(name, seeds_store)
    labels = [figure.get_supylabel(), figure.get_supxlabel()]
    labels += [label for axes in figure.axes for label in (axes.get_ylabel(), axes.get_xlabel())]
    assert any(labels)
    assert any(text.get_text().startswith(FIGURES[name].title) for text in figure.texts)


@pytest.mark.parametrize("name", PLAIN)
def test_preparing_is_pure_and_drawing_changes_nothing(
    name: str, small_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, seen = FIGURES[name].prepare, []

    def watched(self: object, rows: pd.DataFrame) -> pd.DataFrame:
        before = table_text(rows)
        table = plain(self, rows)
        seen.append(before == table_text(rows))
        return table

    monkeypatch.setattr(FIGURES[name], "prepare", watched)
    again, settings = prepare(name, small_store), dict(mpl.rcParams)
    assert seen == [True]
    assert table_text(again.table) == table_text(prepared_once(name, small_store).table)
    before = table_text(again.table)
    again.draw()
    assert table_text(again.table) == before
    assert dict(mpl.rcParams) == settings


@pytest.mark.parametrize("name", [name for name in PLAIN if FIGURES[name].reads == "layers"])
def test_a_missing_column_is_named_with_those_there_are(name: str, make_store: Callable[..., Path]) -> None:
    missing = FIGURES[name]().needed()[0]
    store = make_store(norms=["sn"], records=2, without_columns=[missing])
    with pytest.raises(ValueError, match=rf"figure '{name}' needs {missing} in table 'layers'; it has: "):
        prepare(name, store)


@pytest.mark.parametrize("name", PLAIN)
def test_a_missing_table_is_named_with_those_there_are(name: str, make_store: Callable[..., Path]) -> None:
    table = FIGURES[name].reads
    store = make_store(norms=["sn"], records=2, without_tables=[table])
    with pytest.raises(ValueError, match=rf"no table '{table}'; it has "):
        prepare(name, store)


@pytest.mark.parametrize("name", PLAIN)
def test_provenance_is_json_without_paths_or_dates(name: str, small_store: Path) -> None:
    facts = json.dumps(provenance(prepared_once(name, small_store), small_store))
    assert str(small_store.parent) not in facts
    assert "2023-11" not in facts  # the month in which the synthetic runs began
    assert json.loads(facts)["runs"] == ["bn-s0", "msn-s0", "sn-s0"]
    assert json.loads(facts)["table_rows"] > 0


def test_a_single_value_between_gaps_is_seen(make_store: Callable[..., Path]) -> None:
    figure = drawn("mean_drift", make_store(norms=["sn"], records=1))
    for axes in panels(figure):
        assert any(len(dots.get_offsets()) == 1 for dots in axes.collections if hasattr(dots, "get_offsets"))
