"""Tables and names of the site fit a phone: wide tables carry the headings of their columns in each cell."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.scripts import load_script

DOCS = Path(__file__).parents[2] / "docs"
narrow_pages = load_script(DOCS / "narrow_pages.py")
CSS = (DOCS / "site.css").read_text(encoding="utf-8")


def table(*rows: list[str]) -> str:
    """Return the HTML that Python-Markdown makes of a table."""
    head, *body = [
        "<tr>\n" + "\n".join(f"<{tag}>{cell}</{tag}>" for cell in row) + "\n</tr>" for tag, row in tagged(rows)
    ]
    return f"<table>\n<thead>\n{head}\n</thead>\n<tbody>\n" + "\n".join(body) + "\n</tbody>\n</table>"


def tagged(rows: tuple[list[str], ...]) -> list[tuple[str, list[str]]]:
    return [("td" if at else "th", row) for at, row in enumerate(rows)]


def test_each_cell_of_a_wide_table_carries_the_heading_of_its_column() -> None:
    wide = table(["kind", "a <code>&amp;</code>", ""], ["x", "a long sentence in a cell", "y"], ["z", "", "w"])
    page = narrow_pages.on_page_content(wide)
    assert re.findall(r'<td data-label="([^"]*)">', page) == ["kind", "a &amp;", ""] * 2
    assert page.count("<table data-rows>") == 1
    assert re.sub(r' data-(label="[^"]*"|rows)', "", page) == wide.replace("<code>", '<code class="whole">')


@pytest.mark.parametrize(
    "rows",
    [
        (["option", "effect"], ["--a", "a long sentence in a cell"]),
        (["recorded", "CNN", "VGG-7"], ["everything, at every step of the training", "1.19", "1.16"]),
    ],
)
def test_a_table_that_fits_a_phone_stays_a_table(rows: tuple[list[str], ...]) -> None:
    assert narrow_pages.on_page_content(table(*rows)) == table(*rows)


def test_many_columns_of_short_cells_do_not_fit() -> None:
    cells = ["1.00"] * (narrow_pages.NARROW_COLUMNS + 1)
    assert "data-rows" in narrow_pages.on_page_content(table(cells, cells))


def test_short_code_stays_whole_and_long_names_break_between_their_parts() -> None:
    page = "<code>--overwrite</code> <code>tests/probes/test_kill.py::test_no_row_is_lost</code>"
    assert narrow_pages.on_page_content(page) == (
        '<code class="whole">--overwrite</code> '
        "<code>tests<wbr>/probes<wbr>/test<wbr>_kill<wbr>.py<wbr>::test<wbr>_no<wbr>_row<wbr>_is<wbr>_lost</code>"
    )


def test_a_name_in_a_heading_breaks_and_code_blocks_are_left_alone() -> None:
    heading = '<h2 id="a.b_c" class="doc doc-heading"><span>a.b_c</span></h2>'
    block = "<pre><span></span><code>some_long.name_of_something(else_entirely)</code></pre>"
    page = narrow_pages.on_page_content(heading + block)
    assert page == heading.replace(">a.b_c<", ">a<wbr>.b<wbr>_c<") + block


def test_the_style_sheet_reads_what_the_hook_writes() -> None:
    assert {"table[data-rows]", "attr(data-label)", "code.whole"} == {
        words for words in ("table[data-rows]", "attr(data-label)", "code.whole") if words in CSS
    }


def test_long_commands_and_outputs_break_on_the_site() -> None:
    """The rule of site.css needs the class of the language, which pymdownx.highlight leaves out by default."""
    settings = (DOCS.parent / "mkdocs.yml").read_text(encoding="utf-8")
    assert "pygments_lang_class: true" in settings
    assert re.search(r"\.language-bash, \.language-text\) pre > code \{ white-space: pre-wrap", CSS)
