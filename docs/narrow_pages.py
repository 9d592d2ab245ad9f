"""Lets pages fit a phone: wide tables become lists of rows, and long names get places to break. A hook of MkDocs.

A table of three or more columns whose cells hold sentences is marked ``data-rows``. Each of its cells carries the
heading of its column, which ``site.css`` shows before the cell where the page is narrow.
"""

from __future__ import annotations

import re
from html import escape, unescape
from typing import Any

TABLE = re.compile(r"<table>.*?</table>", re.DOTALL)
CELL = re.compile(r"<(td|th)([^>]*)>(.*?)</\1>", re.DOTALL)
ROW = re.compile(r"<tr>.*?</tr>", re.DOTALL)
INLINE_CODE = re.compile(r"(<pre.*?</pre>)|<code>([^<]*)</code>", re.DOTALL)
HEADING = re.compile(r'(<h\d [^>]*class="doc doc-heading".*?</h\d>)', re.DOTALL)
NAME = re.compile(r"(?<=>)[\w.]+(?=<)")
TAG = re.compile(r"<[^>]+>")
WHOLE = 22
"""Characters of inline code that fit beside another column on a phone, so that they stay on one line."""
NARROW_CELL = 8
"""Characters of a cell of which four or five fit beside each other on a phone."""
NARROW_COLUMNS = 5
"""Columns of such cells that fit on a phone."""


def on_page_content(html: str, **_: Any) -> str:
    """Return the HTML of a page that fits a phone."""
    page = TABLE.sub(lambda found: labelled(found[0]), html)
    page = INLINE_CODE.sub(lambda found: found[1] or breakable_code(found[2]), page)
    return HEADING.sub(lambda found: NAME.sub(lambda name: breakable(name[0]), found[1]), page)


def labelled(table: str) -> str:
    """Return a table whose cells carry the headings of their columns; a table that is narrow stays as it is."""
    rows = [[text_of(cell[2]) for cell in CELL.findall(row)] for row in ROW.findall(table)]
    if not rows or is_narrow(rows):
        return table
    heads = rows[0]

    def row(found: re.Match[str]) -> str:
        names = iter(heads)
        return CELL.sub(lambda cell: with_label(cell, next(names, "")), found[0])

    head, body = table.split("</thead>", 1)
    return f"{head}</thead>{ROW.sub(row, body)}".replace("<table>", "<table data-rows>", 1)


def is_narrow(rows: list[list[str]]) -> bool:
    """Return whether a table fits a phone: two columns, or a few columns of short cells behind the first."""
    columns = len(rows[0])
    longest = max((len(cell) for row in rows[1:] for cell in row[1:]), default=0)
    return columns < 3 or (columns <= NARROW_COLUMNS and longest <= NARROW_CELL)


def with_label(cell: re.Match[str], name: str) -> str:
    """Return a cell with the heading of its column as an attribute."""
    tag, attributes, content = cell.groups()
    return f'<{tag}{attributes} data-label="{escape(name)}">{content}</{tag}>'


def text_of(cell: str) -> str:
    """Return the text of a cell, without its tags."""
    return unescape(TAG.sub("", cell)).strip()


def breakable_code(code: str) -> str:
    """Return inline code that stays on one line if it is short, and breaks between its parts if it is long."""
    if len(unescape(code)) <= WHOLE:
        return f'<code class="whole">{code}</code>'
    return f"<code>{breakable(code)}</code>"


def breakable(name: str) -> str:
    """Return a name that may break before a dot, an underscore, a slash or two colons."""
    return re.sub(r"(?<=\w)(\.|_|/|::)(?=\w)", r"<wbr>\1", name)
