"""The text of ``--data text:PATH``, and the text that ships with the package."""

from __future__ import annotations

import lzma
from pathlib import Path

from dynamics.data.limits import check_memory
from dynamics.data.text.text_set import TextSet, text_set

PREFIX = "text:"
SHIPPED = Path(__file__).with_name("shakespeare.txt.xz")
BYTES_A_CHARACTER = 64  # memory while a text is read: the string, a list of its numbers, and the tensor


def load_text(name: str) -> TextSet:
    """Return the text of a data set's name.

    ``text:`` without a path is the shipped text, 499,949 characters of Shakespeare's plays. ``README.md`` beside this
    file names its source. ``text:PATH`` is a file in UTF-8. A byte order mark is not part of the text. Each line ends
    in a newline on every machine.

    Args:
        name: ``text:`` or ``text:PATH``.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The path is no file, or the text is not UTF-8, is empty, repeats one character, or is too large.
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
