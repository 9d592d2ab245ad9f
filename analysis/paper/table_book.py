"""The paper's tables of a store, printed and written to files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from analysis.paper.paper_tables import CAPTIONS, NUMBERS, TABLES
from analysis.paper.table_text import WRITERS
from analysis.reading.selection import Patterns, matching
from analysis.reading.store import AnyStore, Store
from analysis.whole_file import write_whole
from probes.schema.printable import one_line


@dataclass(frozen=True)
class TableBook:
    """The tables made and refused.

    Attributes:
        texts: The tables in the first format asked for.
        written: Files written.
        refused: The reasons, by the table that could not be made.
    """

    texts: list[str] = field(default_factory=list)
    written: list[Path] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)


def write_tables(
    store: AnyStore,
    *,
    only: Patterns = None,
    runs: Patterns = None,
    formats: Sequence[str] = ("md",),
    out: Path | None = None,
) -> TableBook:
    """Make the paper's tables from a store, and write ``<name>.<format>`` if there is a folder to write to.

    Args:
        store: The store's folder or URL, or an open Store.
        only: Names of tables; None makes all.
        runs: Run ids or shell patterns.
        formats: Some of md, tex and csv.
        out: Folder for the files; None writes none.

    Raises:
        FileNotFoundError: There is no such store.
        ValueError: No such table or format. A table that lacks its data is refused.
    """
    opened = Store.open(store)
    opened.check()
    unknown = [name for name in formats if name not in WRITERS]
    if unknown or not formats:
        raise ValueError(f"format {', '.join(unknown) or 'none'}: expected one or more of {', '.join(WRITERS)}")
    book = TableBook()
    for name in matching(only, list(TABLES), what="table"):
        try:
            table = TABLES[name](opened, runs=runs)
        except ValueError as reason:
            book.refused[name] = str(reason)
            continue
        except (ArithmeticError, LookupError, TypeError) as fault:  # a store may hold values that make no sense
            book.refused[name] = f"{type(fault).__name__}: {one_line(fault)}"
            continue
        caption = f"{NUMBERS[name]}: {CAPTIONS[name]}"
        texts = {extension: WRITERS[extension](table, caption=caption) for extension in formats}
        book.texts.append(texts[formats[0]])
        if out is not None:
            book.written.extend(write_whole(out / f"{name}.{ext}", text.encode()) for ext, text in texts.items())
    return book
