from __future__ import annotations

import contextlib
import io
import re
import zlib
from pathlib import Path

import matplotlib as mpl
import matplotlib.font_manager
import pytest
from fontTools import subset
from fontTools.ttLib import TTFont
from matplotlib.figure import Figure

from analysis.gallery.figure import prepare
from analysis.gallery.pdf_fonts import without_layout_tables
from analysis.gallery.saving import check_formats, laid_out, rendered, save


@pytest.mark.parametrize("extension", ["png", "pdf", "svg"])
def test_a_figure_gives_the_same_file_twice(extension: str, small_store: Path) -> None:
    one, two = (rendered(prepare("mean_drift", small_store).draw(), extension) for _ in range(2))
    assert one == two


def test_text_stays_text_in_svg(small_store: Path) -> None:
    svg = rendered(prepare("mean_drift", small_store).draw(), "svg").decode()
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", svg)
    assert {"Drift of the weight mean", "block1.conv", "MSN"} <= set(texts)


def test_fonts_are_embedded_in_pdf_as_outlines_of_text(small_store: Path) -> None:
    pdf = rendered(prepare("mean_drift", small_store).draw(), "pdf")
    assert b"/FontFile2" in pdf  # TrueType outlines
    assert b"/Type3" not in pdf
    streams = [
        zlib.decompress(part) for part in re.findall(rb"stream\r?\n(.*?)\r?\nendstream", pdf, re.S) if part[:1] == b"x"
    ]
    assert any(b"Tf" in stream and b"BT" in stream for stream in streams)


def test_letters_are_not_joined_so_that_a_search_finds_them(small_store: Path) -> None:
    pdf = rendered(prepare("accuracy", small_store).draw(), "pdf")
    other = rendered(prepare("gradient_histograms", small_store).draw(), "pdf")  # "classifier", no formula
    assert other.count(b"/FontFile2") == pdf.count(b"/FontFile2") == 2


def test_fonts_are_embedded_without_the_tables_that_lay_text_out(small_store: Path) -> None:
    fonts = embedded_fonts(rendered(prepare("mean_drift", small_store).draw(), "pdf"))
    assert len(fonts) >= 2  # regular and bold, and those of the formula
    for font in fonts:
        assert {"glyf", "hmtx"} <= set(font.keys())
        assert not {"GSUB", "GPOS", "GDEF"} & set(font.keys())


def embedded_fonts(pdf: bytes) -> list[TTFont]:
    parts = [part for part in re.findall(rb"stream\r?\n(.*?)\r?\nendstream", pdf, re.S) if part[:1] == b"x"]
    streams = [zlib.decompress(part) for part in parts]
    return [TTFont(io.BytesIO(stream)) for stream in streams if stream[:4] == b"\0\1\0\0"]


def test_another_figure_embeds_its_fonts_whole() -> None:
    with contextlib.suppress(ValueError), without_layout_tables():
        assert "GSUB" not in tables_of_the_font()
        raise ValueError("failed")
    assert "GSUB" in tables_of_the_font()


def tables_of_the_font() -> list[str]:
    with subset.load_font(mpl.font_manager.findfont("DejaVu Sans"), subset.Options()) as font:
        return list(font.keys())


@pytest.mark.parametrize("name", ["mean_drift", "singular_value_map"])
def test_a_figure_is_laid_out_once_for_all_formats(
    name: str, small_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draws: list[Figure] = []
    plain = Figure.draw
    monkeypatch.setattr(Figure, "draw", lambda figure, renderer: draws.append(figure) or plain(figure, renderer))
    save(prepare(name, small_store), small_store, tmp_path, stem="one", formats=["png", "pdf"])
    assert len(draws) == 2


def test_laying_out_beforehand_changes_no_picture(small_store: Path) -> None:
    one, two = (prepare("mean_drift", small_store).draw() for _ in range(2))
    assert rendered(laid_out(one), "png") == rendered(two, "png")


@pytest.mark.parametrize("extension", ["png", "pdf", "svg"])
def test_files_carry_no_date(extension: str, small_store: Path) -> None:
    content = rendered(prepare("accuracy", small_store).draw(), extension)
    assert b"CreationDate" not in content
    assert b"dc:date" not in content
    assert not re.search(rb"20[2-9]\d-\d\d-\d\dT", content)


def test_a_figure_comes_with_its_provenance(small_store: Path, tmp_path: Path) -> None:
    paths = save(prepare("overview", small_store), small_store, tmp_path / "new", stem="map", formats=["png", "svg"])
    assert [path.name for path in paths] == ["map.png", "map.svg", "map.json"]
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["map.json", "map.png", "map.svg"]


@pytest.mark.parametrize("formats", [["jpg"], ["png", "gif"], []])
def test_an_unknown_format_raises(formats: list[str]) -> None:
    with pytest.raises(ValueError, match=r"format (jpg|gif|none): expected one or more of png, pdf, svg"):
        check_formats(formats)


def test_formats_are_not_repeated() -> None:
    assert check_formats(["png", "pdf", "png"]) == ["png", "pdf"]
