"""Figure files with their provenance. The same store gives the same bytes."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from analysis.gallery.pdf_fonts import without_layout_tables
from analysis.gallery.provenance import provenance_text
from analysis.plotting.figure_spec import Prepared
from analysis.plotting.style import house_style
from analysis.reading.store import AnyStore
from analysis.whole_file import write_whole

FORMATS = ("png", "pdf", "svg")
# Dates and program versions would make a file differ from day to day; None leaves them out.
_METADATA: dict[str, dict[str, Any]] = {
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "ModDate": None, "Producer": None, "Creator": None},
    "svg": {"Date": None, "Creator": None},
}


def check_formats(formats: Sequence[str]) -> list[str]:
    """Return the formats without repetition.

    Raises:
        ValueError: A format is unknown, or there is no format.
    """
    unknown = [name for name in formats if name not in FORMATS]
    if unknown or not formats:
        raise ValueError(f"format {', '.join(unknown) or 'none'}: expected one or more of {', '.join(FORMATS)}")
    return list(dict.fromkeys(formats))


def save(prepared: Prepared, store: AnyStore, out: Path, *, stem: str, formats: Sequence[str]) -> list[Path]:
    """Draw a figure and write ``<stem>.<format>`` for each format and ``<stem>.json`` beside them.

    Returns:
        The paths written.
    """
    figure = laid_out(prepared.draw())
    written = []
    for extension in check_formats(formats):
        written.append(write_whole(out / f"{stem}.{extension}", rendered(figure, extension)))
    written.append(write_whole(out / f"{stem}.json", provenance_text(prepared, store).encode()))
    return written


def laid_out(figure: Figure) -> Figure:
    """Return a figure that is laid out once for all formats; else each format would draw it twice for its layout."""
    engine = figure.get_layout_engine()
    if engine is not None:
        with house_style():
            figure.set_dpi(mpl.rcParams["savefig.dpi"])
            engine.execute(figure)
        figure.set_layout_engine(None)
    return figure


def rendered(figure: Figure, extension: str) -> bytes:
    """Return a figure's file as bytes."""
    buffer = BytesIO()
    with house_style(), without_layout_tables():
        figure.savefig(buffer, format=extension, metadata=_METADATA[extension])
    return buffer.getvalue()
