"""Text of a figure as plain text: "fi" stays two letters, and control characters in stored names are escaped."""

from __future__ import annotations

from matplotlib.figure import Figure
from matplotlib.text import Text

from probes.schema.printable import printable


def write_plain_text(figure: Figure) -> None:
    """Write control characters of stored names as escapes, and keep matplotlib (from 3.11) from joining "fi".

    A search for "classifier" does not find the joined glyph. A PDF needs a font of its own for this glyph.
    """
    for text in figure.findobj(Text):
        text.set_text(printable(text.get_text(), keep="\n"))
        if hasattr(text, "set_fontfeatures"):
            text.set_fontfeatures(("-liga",))
