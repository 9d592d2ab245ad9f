"""Text of a figure without ligatures: "fi" stays two letters."""

from __future__ import annotations

from matplotlib.figure import Figure
from matplotlib.text import Text


def turn_off_ligatures(figure: Figure) -> None:
    """Keep matplotlib (from 3.11) from joining "fi" into one glyph.

    A search for "classifier" does not find the joined glyph, and a PDF needs a font of its own for it.
    """
    for text in figure.findobj(Text):
        if hasattr(text, "set_fontfeatures"):
            text.set_fontfeatures(("-liga",))
