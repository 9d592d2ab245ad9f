"""The text of ``--data text:PATH``, and the one that ships with the package."""

from __future__ import annotations

import lzma
from pathlib import Path

from dynamics.data.limits import check_memory
from dynamics.data.text.text_set import TextSet, text_set

PREFIX = "text:"
SHIPPED = Path(__file__).with_name("shakespeare.txt.xz")
BYTES_A_CHARACTER = 64  # while a text is read: the string, a list of its numbers, and the tensor


def load_text(name: str) -> TextSet:
    """Return the text of a data set's name.

    ``text:`` alone is the shipped text, 499,949 characters of Shakespeare's plays: ``README.md`` beside this file tells
    its source. ``text:PATH`` is a file in UTF-8. A byte order mark is no part of the text, and each line ends in a
    newline, on every machine.

    Args:
        name: ``text:`` or ``text:PATH``.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no file, is not UTF-8, is empty, has one character over and over, or is too large.
    """
    path = Path(name.removeprefix(PREFIX))
    if name == PREFIX:
        return text_set(lzma.decompress(SHIPPED.read_bytes()).decode(), name=name)
    if not path.exists():
        raise FileNotFoundError(
            f"data set {name!r}: there is no such file; {PREFIX} alone reads the text that is shipped."
        )
    if not path.is_file():
        raise ValueError(f"data set {name!r}: {path} is a folder; expected a file of text.")
    check_memory(BYTES_A_CHARACTER * path.stat().st_size, f"data set {name!r}")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"data set {name!r}: byte {error.start} is not UTF-8; save the text as UTF-8.") from error
    return text_set(text, name=name)
