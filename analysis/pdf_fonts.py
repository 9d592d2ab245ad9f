"""Fonts in a PDF without their layout tables: a PDF says which glyph stands where, and no reader lays text out anew."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# fontTools ships no type hints. It comes with matplotlib, whose PDF backend embeds fonts with it.
from fontTools import subset  # type: ignore[import-untyped]

LAYOUT_TABLES = ("GDEF", "GPOS", "GSUB")


@contextmanager
def without_layout_tables() -> Iterator[None]:
    """Embed fonts without layout tables inside the block.

    Reading them is most of the work of embedding a font, and a tenth of that of drawing a figure. matplotlib has no
    setting for it, so the defaults of fontTools are changed for the time; if these are elsewhere one day, drawing
    takes longer and nothing else changes.
    """
    options: Any = subset.Options
    before = getattr(options, "_drop_tables_default", None)
    if before is None:
        yield
        return
    options._drop_tables_default = [*before, *LAYOUT_TABLES]
    try:
        yield
    finally:
        options._drop_tables_default = before
