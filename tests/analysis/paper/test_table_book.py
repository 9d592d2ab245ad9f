from __future__ import annotations

from pathlib import Path

import pytest

from analysis.paper.table_book import write_tables


def test_tables_that_can_be_made_are_and_the_others_are_named(small_store: Path) -> None:
    book = write_tables(small_store)
    assert len(book.texts) == 1
    assert book.texts[0].startswith("**Table I: Best test accuracy over learning rates**")
    assert set(book.refused) == {"scores", "parameters"}
    assert book.written == []


def test_each_format_is_a_file(small_store: Path, tmp_path: Path) -> None:
    book = write_tables(small_store, only="accuracy", formats=["md", "tex", "csv"], out=tmp_path / "tables")
    assert [path.name for path in book.written] == ["accuracy.md", "accuracy.tex", "accuracy.csv"]
    assert book.written[0].read_text() == book.texts[0]


def test_an_unknown_format_raises(small_store: Path) -> None:
    with pytest.raises(ValueError, match="format html: expected one or more of md, tex, csv"):
        write_tables(small_store, formats=["html"])


def test_no_format_raises(small_store: Path) -> None:
    with pytest.raises(ValueError, match="format none: expected one or more of md"):
        write_tables(small_store, formats=[])


def test_an_unknown_table_raises(small_store: Path) -> None:
    with pytest.raises(ValueError, match="no table matches 'IV'; there are: accuracy, scores, parameters"):
        write_tables(small_store, only="IV")


def test_a_store_that_is_not_there_raises(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="does not exist"):
        write_tables(tmp_path / "nowhere")
