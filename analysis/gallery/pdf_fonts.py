"""Faster embedding of fonts in PDF files, without the layout tables, which no PDF reader uses."""

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

    Reading them is most of the work of embedding a font, and a tenth of the work of drawing a figure. matplotlib has no
    setting for it, so its function that loads fonts is replaced inside the block. If matplotlib uses another function,
    drawing takes longer and nothing else changes.
    """
    plain = subset.load_font

    def lighter(*given: Any, **options: Any) -> Any:
        font = plain(*given, **options)
        for tag in LAYOUT_TABLES:
            if tag in font:
                del font[tag]
        return font

    subset.load_font = lighter
    try:
        yield
    finally:
        subset.load_font = plain
