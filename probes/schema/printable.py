"""Text from a store, made safe to show: on a terminal, in a warning, in one line of an error."""

from __future__ import annotations

import sys
import unicodedata

_HIDDEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}  # controls, invisible formats such as right-to-left overrides, line separators


def printable(text: object, *, keep: str = "") -> str:
    r"""Return a text with an escape for each character that moves a cursor, or hides or reorders letters.

    Args:
        text: Any object, converted by ``str``.
        keep: Characters that stay as they are: ``"\n"`` in a text of several lines.

    >>> printable("conv\x1b[2J"), printable("two\nlines")
    ('conv\\x1b[2J', 'two\\nlines')
    """
    whole = str(text)
    if whole.isascii() and whole.isprintable():
        return whole
    return "".join(letter if letter in keep or not _is_hidden(letter) else _escape(letter) for letter in whole)


def one_line(text: object, *, most: int = 400) -> str:
    """Return a text on one line, safe to show, cut after ``most`` characters."""
    line = " ".join(printable(text, keep="\n\t\r").split())
    return line if len(line) <= most else f"{line[:most]}... ({len(line):,} letters)"


def _is_hidden(letter: str) -> bool:
    return unicodedata.category(letter) in _HIDDEN


def _escape(letter: str) -> str:
    return letter.encode("unicode_escape").decode("ascii")


def say(text: object, *, err: bool = False) -> None:
    """Print lines that may hold text from a store, to standard error if ``err``."""
    print(printable(text, keep="\n"), file=sys.stderr if err else sys.stdout)


def without_formula(cell: str) -> str:
    """Return a cell of a CSV file that no spreadsheet takes for a formula.

    A cell that starts like a formula gets an apostrophe.

    >>> without_formula("=HYPERLINK(1)"), without_formula("conv-1")
    ("'=HYPERLINK(1)", 'conv-1')
    """
    return f"'{cell}" if cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n")) else cell
