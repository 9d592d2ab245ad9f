from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from analysis.findings import FINDINGS
from analysis.report.data import report_data
from analysis.report.report import page, write_report

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def test_the_page_needs_nothing_but_itself(small_store: Path, tmp_path: Path) -> None:
    text = write_report(small_store, tmp_path / "report.html").read_text()
    assert not re.search(r"""(src|href)=["'](?!#)""", text)
    assert "http://" not in text.replace("http://www.w3.org/2000/svg", "")
    assert "https://" not in text
    assert "@import" not in text
    assert "fetch(" not in text
    assert "{{" not in text.split('id="data">')[0]


def test_the_page_holds_the_data_whatever_stands_in_it(small_store: Path) -> None:
    data = report_data(small_store)
    data["settings"]["same"].append(["note", "</script><b>{{scripts}}</b>"])
    text = page(data)
    held = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)
    assert held is not None
    assert json.loads(held[1]) == data


def test_the_same_store_gives_the_same_page(small_store: Path, tmp_path: Path) -> None:
    one, two = (write_report(small_store, tmp_path / name).read_bytes() for name in ("a.html", "b.html"))
    assert one == two


def test_a_store_being_written_gives_what_is_finished(make_store: Callable[..., Path], tmp_path: Path) -> None:
    store = make_store(norms=["bn"], records=4)
    (store / "layers" / "run=bn-s0" / "_log.arrows").write_bytes(b"half a record")
    (store / "layers" / "run=sn-s0").mkdir()
    assert write_report(store, tmp_path / "report.html").stat().st_size > 10_000


def test_an_empty_store_raises(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is empty"):
        write_report(tmp_path, tmp_path / "report.html")


IN_THE_BROWSER = """
<script>
addEventListener("error", (event) => document.body.setAttribute("data-error", event.message));
addEventListener("load", () => setTimeout(() => {
  const told = {};
  const ink = ({ width, height }) => {
    const pixels = canvas.getContext("2d").getImageData(0, 0, width, height).data;
    return new Uint32Array(pixels.buffer).reduce((n, pixel) => n + (pixel !== 0), 0);
  };
  const canvas = document.querySelector("canvas");
  told.canvases = document.querySelectorAll("canvas").length;
  told.ink = ink(canvas);
  const box = canvas.getBoundingClientRect();
  const move = (kind, x, y) => {
    const place = { clientX: box.left + x, clientY: box.top + y, bubbles: true, pointerId: 1 };
    canvas.dispatchEvent(new PointerEvent(kind, place));
  };
  canvas.setPointerCapture = () => {};
  move("pointermove", 300, 120);
  told.tip = document.querySelector(".tip").textContent;
  move("pointerdown", 150, 40); move("pointermove", 300, 200); move("pointerup", 300, 200);
  told.zoomed = ink(canvas) !== told.ink;
  canvas.dispatchEvent(new MouseEvent("dblclick"));
  told.back = ink(canvas) === told.ink;
  document.querySelector("#arms button").click();
  told.pressed = document.querySelector("#arms button").getAttribute("aria-pressed");
  told.fewer = ink(canvas) < told.ink;
  const select = [...document.querySelectorAll("select[aria-label='what to show']")].find((s) => s.options.length > 4);
  const depth = select.parentElement.querySelector(".depth");
  told.depth = [getComputedStyle(depth).display !== "none"];
  select.value = "run:sn-s0";
  select.dispatchEvent(new Event("change"));
  told.depth.push(getComputedStyle(depth).display !== "none");
  told.limits = { zero: extent([[0, 0]], false), share: extent([[0, 1]], false), signed: extent([[-1, 1]], false) };
  told.ticks = { loss: ticks([0.3, 4], 6, true), share: ticks([0, 1.04], 6, false) };
  told.ticks.decades = ticks([1e-6, 1e2], 5, true);
  const words = [], fillText = CanvasRenderingContext2D.prototype.fillText;
  CanvasRenderingContext2D.prototype.fillText = function (text, ...place) {
    if (this.canvas === canvas) words.push(text);
    return fillText.call(this, text, ...place);
  };
  for (const button of document.querySelectorAll("#arms button[aria-pressed='true']")) button.click();
  told.words = words.slice(-3);
  told.error = document.body.getAttribute("data-error");
  document.body.innerHTML = "<pre id='told'></pre>";
  document.getElementById("told").textContent = JSON.stringify(told);
}, 500));
</script>
"""


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine: the page is not looked at in a browser")
def test_a_browser_shows_one_step_of_one_run_without_halves_of_steps(
    make_store: Callable[..., Path], tmp_path: Path
) -> None:
    written = write_report(make_store(norms=["sn"], records=1), tmp_path / "report.html")
    assert "<title>store: 1 run</title>" in written.read_text()
    add_script(written, WORDS_OF_EACH_CHART)
    accuracy, *_ = json.loads(re.search(r"<pre id=\"told\">(.*?)</pre>", shown_by_browser(written, tmp_path), re.S)[1])
    assert accuracy[-4:] == ["0", "1", "step", "accuracy"]


WORDS_OF_EACH_CHART = """
<script>
const words = new Map(), fillText = CanvasRenderingContext2D.prototype.fillText;
CanvasRenderingContext2D.prototype.fillText = function (text, ...place) {
  words.set(this.canvas, [...(words.get(this.canvas) ?? []), text]);
  return fillText.call(this, text, ...place);
};
addEventListener("load", () => setTimeout(() => {
  const told = [...document.querySelectorAll("canvas")].map((canvas) => words.get(canvas) ?? []);
  document.body.innerHTML = "<pre id='told'></pre>";
  document.getElementById("told").textContent = JSON.stringify(told);
}, 500));
</script>
"""


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine: the page is not looked at in a browser")
def test_a_browser_draws_zooms_points_and_toggles(small_store: Path, tmp_path: Path) -> None:
    written = write_report(small_store, tmp_path / "report.html")
    add_script(written, IN_THE_BROWSER)
    told = json.loads(re.search(r"<pre id=\"told\">(.*?)</pre>", shown_by_browser(written, tmp_path), re.S)[1])
    assert told["error"] is None
    assert told["canvases"] == len(report_data(small_store)["charts"]) + 1
    assert told["ink"] > 5_000
    assert re.match(r"step \d+.*bn-s0", told["tip"])
    assert told["zoomed"]
    assert told["back"]
    assert told["pressed"] == "false"
    assert told["fewer"]
    assert told["depth"] == [False, True]  # a bar of colours beside a line a layer alone
    assert told["limits"] == {"zero": [0, 0.05], "share": [0, 1.05], "signed": [-1.1, 1.1]}
    assert told["ticks"]["loss"] == [0.5, 1, 2]
    assert told["ticks"]["decades"] == pytest.approx([1e-6, 1e-4, 1e-2, 1, 100])
    assert told["ticks"]["share"] == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1])
    assert told["words"] == ["step", "accuracy", "no run is shown"]  # and no numbers on axes that show nothing


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine: the page is not looked at in a browser")
def test_a_browser_shows_findings_with_severity_cause_and_remedy(
    make_store: Callable[..., Path], tmp_path: Path
) -> None:
    store = make_store(norms=["sn"], records=8, nan_from={"sn-s0": 4})
    shown = shown_by_browser(write_report(store, tmp_path / "report.html"), tmp_path)
    table = re.search(r'<section id="findings".*?</section>', shown, re.S)[0]
    words = re.findall(r"<td[^>]*>(.*?)</td>", table, re.S)
    assert words[:5] == ["grave", "NaN", "sn-s0", "block1.conv, and 3 more", "200 to 350"]
    assert words[5].startswith("100 entries of the weight are NaN")
    assert words[6].startswith("the update before this step made them")
    assert "torch.autograd.detect_anomaly" in words[7]


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine: the page is not looked at in a browser")
def test_a_browser_names_the_runs_with_nan(make_store: Callable[..., Path], tmp_path: Path) -> None:
    store = make_store(records=8, nan_from={"sn-s0": 4})
    written = write_report(store, tmp_path / "report.html")
    add_script(written, WORDS_OF_EACH_CHART)
    words = json.loads(re.search(r"<pre id=\"told\">(.*?)</pre>", shown_by_browser(written, tmp_path), re.S)[1])
    titles = [chart["title"] for chart in report_data(store)["charts"]]
    noted = [title for title, told in zip(titles, words, strict=False) if "red: NaN in sn-s0" in told]
    assert noted[:2] == ["Drift of the weight mean", "Sparsity of the gradient"]  # not of accuracy and loss


# The browser's clock is virtual and runs ahead of its frames when the machine is busy. Observers report with a frame,
# which may then come after everything is over: here they report at once.
OBSERVERS_WITHOUT_FRAMES = """
<script>
window.ResizeObserver = class {
  constructor(report) { this.report = report; }
  observe() { setTimeout(() => this.report([], this)); }
};
window.IntersectionObserver = class extends ResizeObserver {
  observe() { setTimeout(() => this.report([{ isIntersecting: true }], this)); }
  disconnect() {}
};
</script>
"""


def add_script(page: Path, script: str) -> None:
    added = OBSERVERS_WITHOUT_FRAMES + script
    page.write_text(page.read_text().replace("<script type=", added + "<script type=", 1))


def shown_by_browser(page: Path, tmp_path: Path) -> str:
    flags = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-sync",
    ]
    profile = f"--user-data-dir={tmp_path / 'profile'}"
    wait = ["--window-size=1300,4000", "--virtual-time-budget=4000", "--dump-dom"]
    command = [str(CHROMIUM), *flags, profile, *wait, page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine: the page is not looked at in a browser")
def test_a_browser_names_every_kind_of_finding_where_none_was_found(
    make_store: Callable[..., Path], tmp_path: Path
) -> None:
    store = make_store(norms=["bn"], records=2, without_tables=["layers", "steps", "spectra", "histograms"])
    shown = shown_by_browser(write_report(store, tmp_path / "report.html"), tmp_path)
    [said] = re.findall(r'<p class="none">(.*?)</p>', shown)
    assert said == f"None of these kinds: {', '.join(FINDINGS)}."
