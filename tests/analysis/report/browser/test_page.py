"""The report in a real browser: each thing that a reader can do, done."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from analysis.findings import FINDINGS
from analysis.report.report import write_report
from probes.storage.recorder import Recorder

pytestmark = pytest.mark.browser
KINDS = len(FINDINGS)

SERIES = "charts.get('layers.{column}').chart.getOption().series"
Visit = Callable[..., Any]
Wait = Callable[[Any], None]


@pytest.fixture(scope="module")
def report(sick_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of three runs, one of which meets NaN at step 1,500."""
    return write_report(sick_store, tmp_path_factory.mktemp("page") / "report.html")


def names(page: Any, column: str) -> list[str]:
    """Return the names of the lines of a chart of layers."""
    return page.evaluate(f"{SERIES.format(column=column)}.map((s) => s.name)")


def values(page: Any, column: str, place: int = 0) -> list[float]:
    return page.evaluate(f"{SERIES.format(column=column)}[{place}].data.map((p) => p[1]).filter((v) => v !== '-')")


def test_it_asks_the_network_for_nothing(report: Path, browser: Any) -> None:
    page = browser.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(report.as_uri())
    page.wait_for_selector("html[data-drawn=yes]", state="attached")
    assert [url for url in asked if not url.startswith(("data:", "blob:"))] == [report.as_uri()]
    page.close()


def test_the_message_names_fault_layer_and_step_first(report: Path, visit: Visit) -> None:
    page = visit(report)
    said = page.locator("#findings .message")
    assert "First: NaN in layer block1.conv and 3 other layers of run sn-s0, from step 1,500." in said.inner_text()
    assert said.bounding_box()["y"] < 200
    first = page.locator("#findings li").first.inner_text()
    assert "layer block1.conv and 3 other layers" in first
    assert "Likely cause: the update before this step, or a change of the weight outside the optimizer" in first


def test_findings_of_one_kind_are_one_entry_that_names_the_other_runs(
    make_store: Callable[..., Path], tmp_path: Path, visit: Visit
) -> None:
    store = make_store(norms=["bn", "sn"], records=8, nan_from={"bn-s0": 4, "sn-s0": 6})
    page = visit(write_report(store, tmp_path / "report.html"))
    grave = page.locator("#findings > ol > li.grave")
    assert grave.locator("summary").all_inner_texts() == ["The same in 1 other run"]
    grave.locator("summary").click()
    assert "run sn-s0" in grave.locator("ul").inner_text()


def test_a_finding_leads_to_the_chart_that_shows_it(report: Path, visit: Visit, wait_for_drawing: Wait) -> None:
    page = visit(report)
    page.get_by_role("button", name="show NaN of sn-s0 in the chart").click()
    wait_for_drawing(page)
    chart = page.locator("[id='chart-layers.weight_nonfinite']")
    box = chart.bounding_box()
    assert 0 <= box["y"] < 900
    [mark] = page.evaluate(f"{SERIES.format(column='weight_nonfinite')}[0].markLine.data.map((m) => m.xAxis)")
    assert mark == 1500
    assert names(page, "weight_nonfinite") == ["block1.conv", "block2.conv", "block3.conv", "classifier"]
    widths = page.evaluate(f"{SERIES.format(column='weight_nonfinite')}.map((s) => s.lineStyle.width)")
    assert widths[0] > max(widths[1:])  # the layer where it began
    [circle] = page.evaluate(f"{SERIES.format(column='weight_nonfinite')}[0].markPoint.data.map((m) => m.coord)")
    assert circle == [1500, 100]
    page.get_by_role("button", name="show all findings again").click()
    wait_for_drawing(page)
    assert page.evaluate("state.finding") is None


def test_nan_is_told_under_each_chart_that_has_it(report: Path, visit: Visit) -> None:
    alarm = visit(report).locator("[id='chart-layers.grad_l2_norm'] .alarm").inner_text()
    assert alarm == "NaN or infinite: block1.conv from step 1,500 and 3 other lines"


def test_runs_are_searched_compared_grouped_sorted_and_ticked(
    report: Path, visit: Visit, wait_for_drawing: Wait
) -> None:
    page = visit(report)
    page.select_option("#view select >> nth=0", "runs")
    wait_for_drawing(page)
    assert names(page, "grad_l2_norm") == ["bn-s0", "msn-s0", "sn-s0"]
    for words, found in {"norm=sn": ["sn-s0"], "msn": ["msn-s0"], "step>=1950 norm!=sn": ["bn-s0", "msn-s0"]}.items():
        page.get_by_label("search runs").fill(words)
        wait_for_drawing(page)
        assert names(page, "grad_l2_norm") == found
    page.get_by_label("search runs").fill("")
    page.locator("#runs").get_by_label("bn-s0", exact=True).uncheck()
    wait_for_drawing(page)
    assert names(page, "grad_l2_norm") == ["msn-s0", "sn-s0"]
    page.get_by_label("group by").select_option("norm")
    assert page.locator("#runs tr.group").all_inner_texts() == [
        "\tnorm: bn (1 run)",
        "\tnorm: msn (1 run)",
        "\tnorm: sn (1 run)",
    ]
    page.get_by_label("norm msn").uncheck()
    wait_for_drawing(page)
    assert names(page, "grad_l2_norm") == ["sn-s0"]
    page.get_by_label("group by").select_option("")
    page.locator("#runs th button", has_text="findings").click()
    page.locator("#runs th button", has_text="findings").click()
    assert page.locator("#runs tbody tr").first.inner_text().strip().startswith("sn-s0")


def test_the_tree_of_layers_is_searched_and_ticked(report: Path, visit: Visit, wait_for_drawing: Wait) -> None:
    page = visit(report)
    page.get_by_label("search layers").fill("block2")
    wait_for_drawing(page)
    assert names(page, "grad_l2_norm") == ["block2.conv"]
    page.get_by_label("search layers").fill("linear")  # a type
    wait_for_drawing(page)
    assert names(page, "grad_l2_norm") == ["classifier"]
    page.get_by_label("search layers").fill("")
    page.locator("#layers").get_by_label("block1", exact=True).uncheck()
    wait_for_drawing(page)
    assert names(page, "grad_l2_norm") == ["block2.conv", "block3.conv", "classifier"]
    page.locator("#layers").get_by_role("button", name="classifier").click()
    wait_for_drawing(page)
    assert names(page, "grad_l2_norm") == ["bn-s0", "msn-s0", "sn-s0"]
    assert page.evaluate("state.layer") == "classifier"
    for run, kind in {"bn-s0": "BatchNorm2d", "msn-s0": "MeanCentring"}.items():
        page.locator("#runs").get_by_role("button", name=run, exact=True).click()
        assert page.locator("#layers .leaf", has_text="norm").first.inner_text().endswith(kind)


def test_a_click_on_a_run_shows_its_layers_in_colours_of_depth(
    report: Path, visit: Visit, wait_for_drawing: Wait
) -> None:
    page = visit(report)
    page.locator("#runs").get_by_role("button", name="bn-s0").click()
    wait_for_drawing(page)
    assert names(page, "grad_l2_norm")[:2] == ["block1.conv", "block1.norm"]
    colors = page.evaluate(f"{SERIES.format(column='grad_l2_norm')}.map((s) => s.color)")
    assert colors == page.evaluate("[0, 1, 2, 3, 4, 5, 6].map((place) => depthColor(place / 6))")


def test_smoothing_flattens_and_keeps_gaps(report: Path, visit: Visit, wait_for_drawing: Wait) -> None:
    page = visit(report)
    before = values(page, "grad_l2_norm")
    page.locator("#view input[type=range]").fill("0.9")
    wait_for_drawing(page)
    after = values(page, "grad_l2_norm")
    assert len(after) == len(before) == 30
    assert max(after) - min(after) < 0.7 * (max(before) - min(before))
    assert after[0] == before[0]


def test_both_axes_are_linear_or_logarithmic(report: Path, visit: Visit, wait_for_drawing: Wait) -> None:
    page = visit(report)
    chart = page.locator("[id='chart-layers.dead_fraction']")
    kinds = "['xAxis', 'yAxis'].map((a) => charts.get('layers.dead_fraction').chart.getOption()[a][0].type)"
    assert page.evaluate(kinds) == ["value", "value"]
    chart.get_by_label("log step").check()
    chart.get_by_label("log", exact=True).check()
    wait_for_drawing(page)
    assert page.evaluate(kinds) == ["log", "log"]
    said = chart.locator("p.note").last.inner_text()
    assert "values of exactly 0, on the dotted row marked 0 at the bottom" in said
    assert "step 0 not on the logarithmic axis" in said


def test_zeros_are_drawn_on_a_row_of_their_own_below_a_logarithmic_axis(
    report: Path, visit: Visit, wait_for_drawing: Wait
) -> None:
    page = visit(report)
    chart = page.locator("[id='chart-layers.dead_fraction']")
    stored = "charts.get('layers.dead_fraction').lines.flatMap((line) => [...line.y])"
    zeros = page.evaluate(f"{stored}.filter((value) => value === 0).length")
    least = page.evaluate(f"Math.min(...{stored}.filter((value) => value > 0))")
    assert zeros > 0
    chart.get_by_label("log", exact=True).check()
    wait_for_drawing(page)
    drawn = [values(page, "dead_fraction", place) for place in range(len(names(page, "dead_fraction")))]
    row = page.evaluate("charts.get('layers.dead_fraction').zero")
    assert row < 0.9 * least
    assert sum(value == row for line in drawn for value in line) == zeros
    of_axis = "charts.get('layers.dead_fraction').chart.getOption().yAxis[0]"
    assert page.evaluate(f"{of_axis}.min < charts.get('layers.dead_fraction').zero")
    ticks = page.evaluate(f"{of_axis}.axisLabel.customValues.map((value) => {of_axis}.axisLabel.formatter(value))")
    assert ticks[0] == "0"
    assert "0" not in ticks[1:]
    rows = f"{SERIES.format(column='dead_fraction')}[0].markLine.data.map((mark) => mark.yAxis)"
    assert row in page.evaluate(rows)


def test_a_drag_zooms_a_double_click_shows_all_and_the_pointer_reads(
    report: Path, visit: Visit, wait_for_drawing: Wait
) -> None:
    page = visit(report)
    plot = page.locator("[id='chart-layers.grad_l2_norm'] .plot")
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    extent = "charts.get('layers.grad_l2_norm').chart.getModel().getComponent('xAxis').axis.scale.getExtent()"
    whole = page.evaluate(extent)
    page.mouse.move(box["x"] + 150, box["y"] + 40)
    page.wait_for_timeout(200)
    assert int(plot.inner_text().split()[1]) in range(50, 1000, 50)  # a step that was recorded
    assert "block3.conv" in plot.inner_text()
    page.mouse.down()
    page.mouse.move(box["x"] + 250, box["y"] + 150, steps=8)
    page.mouse.up()
    page.wait_for_timeout(200)
    zoomed = page.evaluate(extent)
    assert whole[0] < zoomed[0] < zoomed[1] < whole[1]
    page.mouse.dblclick(box["x"] + 200, box["y"] + 100)
    page.wait_for_timeout(200)
    assert page.evaluate(extent) == whole


def test_the_heat_map_shows_any_column_with_nan_in_red(report: Path, visit: Visit, wait_for_drawing: Wait) -> None:
    page = visit(report)
    option = "heatMap.chart.getOption().series.map((s) => s.data.length)"
    assert page.evaluate(option) == [4 * 30, 4 * 10, 0]
    page.locator("#heat").get_by_label("column").select_option("layers.dead_fraction")
    page.locator("#heat").get_by_label("run").select_option("bn-s0")
    wait_for_drawing(page)
    finite, broken, zero = page.evaluate(option)
    assert broken == 0
    layers = page.evaluate("heatMap.chart.getOption().yAxis[0].data")
    assert finite + zero == 40 * len(layers)
    assert zero > 5
    assert page.locator("#heat h2").inner_text() == "Dead channels: bn-s0"
    assert layers == sorted(layers)


def test_small_multiples_are_a_chart_a_layer_in_forward_order(
    report: Path, visit: Visit, wait_for_drawing: Wait
) -> None:
    page = visit(report)
    titles = "multiples.chart.getOption().title.map((t) => t.text)"
    assert page.evaluate(titles)[:3] == ["block1.conv", "block1.norm", "block2.conv"]
    assert page.evaluate("multiples.chart.getOption().grid.length") == 7
    page.locator("#small").get_by_label("column").select_option("layers.spectral_norm")
    wait_for_drawing(page)
    assert page.locator("#small h2").inner_text() == "Spectral norm of the weight, layer by layer"
    assert len(page.evaluate(titles)) == 4  # normalisation layers have no spectral norm


def test_of_many_layers_those_of_findings_are_among_the_small_multiples(report: Path, visit: Visit) -> None:
    page = visit(report)
    names = [f"layer{place:02d}" for place in range(40)]
    page.evaluate("data.findings[0].affected = ['layer17', 'layer18']; data.findings[0].layer = 'layer18'")
    chosen = page.evaluate("(names) => someLayers(names, 12)", names)
    assert {"layer00", "layer17", "layer18", "layer39"} < set(chosen)
    assert chosen == sorted(chosen)
    assert len(chosen) == 12
    assert page.evaluate("(names) => someLayers(names, 12)", names[:12]) == names[:12]


@pytest.mark.parametrize("table", ["histograms", "spectra"])
def test_distributions_follow_the_layer_that_is_shown_until_another_is_chosen(
    report: Path, visit: Visit, wait_for_drawing: Wait, table: str
) -> None:
    page = visit(report)
    chosen = page.locator(f"#{table}").get_by_label("layer")
    assert chosen.input_value() == "block1.conv"  # the layer of the first finding
    page.evaluate("state.layer = 'block3.conv'; changed()")
    wait_for_drawing(page)
    assert chosen.input_value() == "block3.conv"
    chosen.select_option("classifier")
    page.evaluate("state.layer = 'block2.conv'; changed()")
    wait_for_drawing(page)
    assert chosen.input_value() == "classifier"


@pytest.mark.parametrize("place", ["histograms", "spectra"])
def test_a_slider_goes_through_the_steps_of_distributions(
    report: Path, visit: Visit, wait_for_drawing: Wait, place: str
) -> None:
    page = visit(report)
    section = page.locator(f"#{place}")
    panel = f"[...panels].find((panel) => panel.table === '{place}')"
    assert section.locator("output").inner_text() == "1,500"
    last = page.evaluate(f"[...{panel}.lines[0].y]")
    section.locator("input[type=range]").fill("0")
    assert section.locator("output").inner_text() == "0"
    assert page.evaluate(f"[...{panel}.lines[0].y]") != last
    section.get_by_label("layer").select_option("classifier")
    wait_for_drawing(page)
    assert {line["layer"] for line in page.evaluate(f"{panel}.lines")} == {"classifier"}


def test_pictures_and_numbers_are_downloaded(report: Path, visit: Visit, tmp_path: Path) -> None:
    page = visit(report)
    chart = page.locator("[id='chart-layers.grad_l2_norm']")
    for word in ("PNG", "CSV"):
        with page.expect_download() as asked:
            chart.get_by_role("button", name=word).click()
        asked.value.save_as(tmp_path / asked.value.suggested_filename)
    assert (tmp_path / "Gradient_norm.png").read_bytes().startswith(b"\x89PNG")
    head, *rows = csv.reader((tmp_path / "Gradient_norm.csv").read_text().splitlines())
    assert head == ["run", "layer", "step", "grad_l2_norm", "drawn"]
    assert len(rows) == 4 * 40
    assert rows[30][3] == "NaN"
    for place in ("#runs", "#findings", "#heat", "#small", "#histograms"):
        with page.expect_download() as asked:
            page.locator(place).get_by_role("button", name="CSV").first.click()
        asked.value.save_as(tmp_path / "table.csv")
        assert len((tmp_path / "table.csv").read_text().splitlines()) >= 4


def test_dark_follows_the_system_and_a_button(report: Path, visit: Visit, wait_for_drawing: Wait) -> None:
    page = visit(report, color_scheme="dark")
    paper = "getComputedStyle(document.body).backgroundColor"
    assert page.evaluate(paper) == "rgb(20, 23, 26)"
    page.get_by_role("button", name="colours").click()
    wait_for_drawing(page)
    assert page.evaluate(paper) == "rgb(255, 255, 255)"


def test_paper_shows_everything_and_is_light(report: Path, visit: Visit, tmp_path: Path) -> None:
    page = visit(report, color_scheme="dark")
    pdf = page.pdf(path=tmp_path / "report.pdf", format="A4")
    assert pdf.count(b"/Type /Page\n") >= 4
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.evaluate("document.querySelectorAll('details:not([open], .pandas)').length") == 0
    shown = page.evaluate(
        "[...panels].filter((p) => p.lines?.length !== 0).map((p) => p.print.getBoundingClientRect().width)"
    )
    assert len(shown) >= 15
    assert set(shown) <= {340, 690}
    hiding = "[...document.querySelectorAll('.scroll, .tree')].map((e) => getComputedStyle(e).overflow)"
    assert set(page.evaluate(hiding)) == {"visible"}
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"


def test_the_layer_where_a_finding_begins_is_marked_in_the_tree_and_leads_to_its_chart(
    report: Path, visit: Visit, wait_for_drawing: Wait
) -> None:
    page = visit(report)
    badge = page.locator("#layers .badge", has_text="NaN")
    assert badge.all_inner_texts() == ["NaN, step 1,500"]
    leaf = page.locator("#layers .leaf", has=page.locator(".badge", has_text="NaN"))
    assert leaf.get_by_role("checkbox").get_attribute("aria-label") == "block1.conv"
    badge.click()
    wait_for_drawing(page)
    assert page.evaluate("state.layer") == "block1.conv"
    assert "current" in leaf.get_attribute("class").split()
    assert 0 <= page.locator("[id='chart-layers.weight_nonfinite']").bounding_box()["y"] < 900
    page.locator("#heat").get_by_label("column").select_option("layers.grad_l2_norm")
    wait_for_drawing(page)
    alarm = page.evaluate("css('--alarm')")
    color = "heatMap.chart.getOption().yAxis[0].axisLabel.color"
    assert page.evaluate(f"[0, 1].map((place) => {color}('', place))") == [alarm, page.evaluate("css('--ink')")]


@pytest.fixture(scope="module")
def exploding_report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a run whose updates are too large from step 4 on, and whose gradients explode from step 5 on."""
    folder = tmp_path_factory.mktemp("exploding")
    with Recorder(folder / "runs", "a") as recorder:
        for step in range(12):
            numbers = {"update_ratio": 0.9 if step >= 4 else 0.001, "grad_l2_norm": 1e4 if step >= 5 else 1.0}
            keys = {"step": step, "layer": "0", "layer_index": 0, "layer_type": "Linear"}
            recorder.write("layers", pa.RecordBatch.from_pylist([{**keys, **numbers}]))
    return write_report(folder / "runs", folder / "report.html")


def test_consequences_stand_below_the_finding_that_explains_them(exploding_report: Path, visit: Visit) -> None:
    page = visit(exploding_report)
    groups = page.evaluate("groupedFindings().map(({ first, rest }) => [first.kind, rest.map(({ kind }) => kind)])")
    assert groups == [["large update", ["exploding"]]]
    said = page.locator("#findings .message")
    assert said.inner_text().startswith("First: large update in layer 0, from step 4. It explains 1 grave finding.")
    assert "grave" in said.get_attribute("class").split()  # as the gravest that it explains
    told = page.locator("#findings > ol > li")
    assert told.locator("summary").all_inner_texts() == ["It explains 1 other finding: exploding"]
    told.locator("summary").click()
    assert "steps 5 to 11" in told.locator("ul").inner_text()


def report_of_updates(folder: Path, ratios: Sequence[float]) -> Path:
    """Return the report of a run of one layer, whose updates are given relative to the weight, step by step."""
    with Recorder(folder / "runs", "a") as recorder:
        for step, ratio in enumerate(ratios):
            keys = {"step": step, "layer": "0", "layer_index": 0, "layer_type": "Linear"}
            recorder.write("layers", pa.RecordBatch.from_pylist([{**keys, "update_ratio": ratio}]))
    return write_report(folder / "runs", folder / "report.html")


@pytest.mark.parametrize(
    ("update", "said"),
    [
        (0.001, f"No fault of {KINDS} kinds was found. 4 of {KINDS} kinds could not be checked."),
        (0.9, "Large update in layer 0, from step 0."),
    ],
)
def test_the_message_of_no_finding_and_of_one_is_short_and_says_what_was_not_checked(
    update: float, said: str, tmp_path: Path, visit: Visit
) -> None:
    page = visit(report_of_updates(tmp_path, [update] * 6))
    assert page.locator("#findings .message").inner_text() == said
    assert page.locator("#findings .notice").inner_text().startswith("Not checked: no training losses were logged")


@pytest.mark.parametrize(("first", "alarm"), [(math.inf, ""), (math.nan, "NaN or infinite: 0 from step 0")])
def test_an_update_relative_to_a_weight_of_0_is_no_alarm(
    first: float, alarm: str, tmp_path: Path, visit: Visit
) -> None:
    page = visit(report_of_updates(tmp_path, [first, *[0.01] * 5]))
    chart = page.locator("[id='chart-layers.update_ratio']")
    assert chart.locator(".alarm").inner_text() == alarm
    assert ("infinite where the weight is 0: 0" in chart.locator("p.note").last.inner_text()) == (not alarm)


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_wider_than_the_window(report: Path, visit: Visit, width: int) -> None:
    page = visit(report, width=width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator("#findings .message").bounding_box()["y"] < 250
    assert page.evaluate("document.getElementById('runs').open") == (width > 900)


@pytest.mark.parametrize(
    "made",
    [
        {"records": 1},
        {"records": 3, "without_tables": ["layers"]},
        {"records": 3, "without_tables": ["steps", "histograms", "spectra"]},
        {"records": 3, "without_tables": ["layers", "steps", "histograms", "spectra"]},
        {"records": 3, "nan_from": {"sn-s0": 0}},
    ],
)
def test_stores_that_hold_little_are_shown_without_an_error(
    make_store: Callable[..., Path], tmp_path: Path, visit: Visit, made: dict[str, Any]
) -> None:
    page = visit(write_report(make_store(norms=["sn"], **made), tmp_path / "report.html"))
    assert page.locator("#summary").inner_text().startswith("1 run.")
    assert page.locator("#findings .message").inner_text()
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
