"""Letters of a figure without ligatures."""

from __future__ import annotations

from matplotlib.figure import Figure
from matplotlib.text import Text


def separate_letters(figure: Figure) -> None:
    """Write "fi" as two letters, where matplotlib (from 3.11) would join them.

    A joined letter is one that a search for "classifier" does not find, and that needs a font of its own in a PDF.
    """
    for text in figure.findobj(Text):
        if hasattr(text, "set_fontfeatures"):
            text.set_fontfeatures(("-liga",))
