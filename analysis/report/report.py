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

_SCRIPTS = ("series.js", "chart.js", "depth.js", "app.js")


def write_report(store: AnyStore, out: str | Path, *, runs: Patterns = None) -> Path:
    """Write the report on a store. Of a run in progress it shows the rows recorded so far.

    Raises:
        FileNotFoundError: There is no such store.
        ValueError: The store is empty, or no run matches.
    """
    return write_whole(Path(out), page(report_data(store, runs=runs)).encode())


def page(data: dict[str, Any]) -> str:
    """Return the page: the data as JSON inside, the scripts and the style too."""
    folder = files("analysis.report") / "page"
    # "<" may end the script element, or keep it from ending, whatever stands in a run's settings.
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=False, allow_nan=False).replace("<", "\\u003c")
    parts = {
        "title": escape(f"{data['store']}: {len(data['runs'])} {'run' if len(data['runs']) == 1 else 'runs'}"),
        "style": (folder / "page.css").read_text(encoding="utf-8"),
        "data": text,
        "scripts": "\n".join((folder / name).read_text(encoding="utf-8") for name in _SCRIPTS),
    }
    template = (folder / "page.html").read_text(encoding="utf-8")
    # One pass, because the inserted text may itself hold braces.
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], template)
