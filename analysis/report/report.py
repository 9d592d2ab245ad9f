"""One self-contained HTML page about a store: no network, no other file."""

from __future__ import annotations

import json
import re
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

from analysis.reading.selection import Patterns
from analysis.reading.store import AnyStore
from analysis.report.data import report_data
from analysis.whole_file import write_whole

SCRIPTS = (
    "vendor/echarts.min.js",
    "elements.js",
    "numbers.js",
    "source.js",
    "state.js",
    "scales.js",
    "chart.js",
    "lines.js",
    "maps.js",
    "distributions.js",
    "findings.js",
    "runs.js",
    "layers.js",
    "app.js",
)


def write_report(store: AnyStore, out: str | Path, *, runs: Patterns = None) -> Path:
    """Write the report on a store. For a run in progress it shows the rows recorded so far.

    Raises:
        FileNotFoundError: There is no such store.
        ValueError: The store is empty, or no run matches.
    """
    # Half a surrogate pair, which is no UTF-8, becomes its JSON escape.
    return write_whole(Path(out), page(report_data(store, runs=runs)).encode(errors="backslashreplace"))


def page(data: dict[str, Any]) -> str:
    """Return the page, with the data as JSON, the scripts and the style inside it."""
    folder = files("analysis.report") / "page"
    counted = f"{len(data['runs'])} {'run' if len(data['runs']) == 1 else 'runs'}"
    parts = {
        "title": escape(f"{data['store']}: {counted}"),
        "style": (folder / "page.css").read_text(encoding="utf-8"),
        "connect": "'self'" if data["live"] else "'none'",
        "data": json_in_html(data),
        "scripts": "\n".join((folder / name).read_text(encoding="utf-8") for name in SCRIPTS),
    }
    template = (folder / "page.html").read_text(encoding="utf-8")
    # One pass, because the inserted text may itself hold braces.
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], template)


def json_in_html(data: Any) -> str:
    r"""Return JSON that is safe inside a script element: ``<`` is written as ``\u003c``.

    ``</script`` would end the element, and ``<!--<script`` would make the browser read on past its end.
    """
    return json.dumps(data, separators=(",", ":"), ensure_ascii=False, allow_nan=False).replace("<", "\\u003c")
