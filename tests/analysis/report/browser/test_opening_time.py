"""The time from navigation to the last drawn chart, of 20 runs of 100 layers and 1,000 records."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from large_stores import write_large_store

from analysis.report.report import write_report

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def test_a_large_report_opens_in_under_three_seconds(browser: Any, tmp_path: Path) -> None:
    store = write_large_store(tmp_path / "runs", runs=20, layers=100, records=1000)
    report = write_report(store, tmp_path / "report.html")
    wall, cpu = zip(*(opening_seconds(browser, report) for _ in range(5)), strict=True)
    print(
        f"{report.stat().st_size / 1e6:.1f} MB opens in {min(wall):.1f} s, of which the page computes {min(cpu):.1f} s"
    )
    assert min(cpu) < 3
    if os.getloadavg()[0] < (os.cpu_count() or 1):  # else other processes have the cores
        assert min(wall) < 3


def opening_seconds(browser: Any, report: Path) -> tuple[float, float]:
    """Return the seconds from navigation to the last drawn chart, and the processor's of the page's thread."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    devtools = page.context.new_cdp_session(page)
    devtools.send("Performance.enable", {"timeDomain": "threadTicks"})
    page.goto(report.as_uri())
    page.wait_for_selector("html[data-drawn=yes]", state="attached", timeout=60_000)
    metrics = {one["name"]: one["value"] for one in devtools.send("Performance.getMetrics")["metrics"]}
    drawn = page.evaluate("performance.getEntriesByName('all drawn')[0].startTime / 1000")
    assert page.evaluate("[...panels].filter((panel) => panel.instance).length") >= 11
    assert "thinned to about 50 points" in page.locator("#thinning").inner_text()
    page.close()
    return drawn, metrics["TaskDuration"]
