"""Text of a store from somebody else stays text in the page, in its pictures and in its CSV files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from analysis.report.report import write_report
from probes.storage.recorder import Recorder

pytestmark = pytest.mark.browser

EVIL = [
    "<!--<script>",
    "</script><script>window.hit = 1</script>",
    "<img src=x onerror='window.hit = 1'>",
    "=HYPERLINK(1)",
]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of two runs whose layers, types, settings, splits and columns have hostile names."""
    folder = tmp_path_factory.mktemp("evil")
    for run in ("a", "b"):
        with Recorder(folder / "runs", run, config={"name": f"{EVIL[2]}{run}", EVIL[1]: run}) as recorder:
            for step in range(8):
                for place, name in enumerate(EVIL):
                    keys = {"step": step, "layer": name, "layer_index": place, "layer_type": EVIL[2]}
                    row = {
                        **keys,
                        "grad_l2_norm": float("nan") if step > 4 else 1.0,
                        "weight_mean": 1.0,
                        "grad_nonfinite": 9 * (step > 4),
                    }
                    recorder.write("layers", pa.RecordBatch.from_pylist([row]))
                recorder.write("steps", pa.RecordBatch.from_pylist([{"step": step, "split": EVIL[1], "loss": 1.0}]))
    return write_report(folder / "runs", folder / "report.html")


def test_the_page_is_whole_and_runs_no_script_of_the_store(
    report: Path, visit: Callable[..., Any], wait_for_drawing: Callable[[Any], None]
) -> None:
    page = visit(report)
    assert page.locator("#layers .leaf").count() == len(EVIL)
    assert page.locator("#charts figure").count() >= 3
    box = page.locator("[id='chart-layers.weight_mean'] .plot")
    box.scroll_into_view_if_needed()
    place = box.bounding_box()
    page.mouse.move(place["x"] + 200, place["y"] + 100)
    page.wait_for_timeout(200)
    assert EVIL[2] in box.inner_text()  # the tip shows the name as it is
    page.get_by_label("group by").select_option("name")
    wait_for_drawing(page)
    assert page.evaluate("window.hit") is None
    assert page.locator("img").count() == 0


def test_no_cell_of_a_csv_is_a_formula(report: Path, visit: Callable[..., Any], tmp_path: Path) -> None:
    page = visit(report)
    with page.expect_download() as asked:
        page.locator("[id='chart-layers.weight_mean']").get_by_role("button", name="CSV").click()
    asked.value.save_as(tmp_path / "numbers.csv")
    text = (tmp_path / "numbers.csv").read_text()
    assert "'=HYPERLINK(1)" in text
    assert ",=HYPERLINK" not in text


def test_the_data_are_read_as_they_were_written(report: Path, visit: Callable[..., Any]) -> None:
    held = visit(report).evaluate("JSON.stringify(data.names.lists)")
    assert EVIL in json.loads(held)
