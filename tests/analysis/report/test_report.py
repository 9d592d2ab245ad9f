from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import pytest

from analysis.report.data import report_data
from analysis.report.report import SCRIPTS, page, write_report

PAGE = files("analysis.report") / "page"
HELD = re.compile(r'<script type="application/json" id="data">(.*?)</script>', re.S)


def test_the_page_needs_nothing_but_itself(small_store: Path, tmp_path: Path) -> None:
    text = write_report(small_store, tmp_path / "report.html").read_text()
    own = re.sub(r"<script>.*?</script>", "", text, flags=re.S)  # the browser's tests watch what scripts ask for
    assert not re.search(r"""\s(src|href)=["'](?!#|data:)""", own)
    assert "default-src 'none'" in text
    assert "connect-src 'none'" in text
    assert "{{" not in text.split('id="data">')[0]


HOSTILE = ["</script><b>{{scripts}}</b>", "<!--<script>", "<img src=x onerror=alert(1)>", "\u2028", "]]>"]


@pytest.mark.parametrize("words", HOSTILE)
def test_the_page_holds_the_data_whatever_stands_in_it(small_store: Path, words: str) -> None:
    data = report_data(small_store)
    data["settings"]["same"].append([words, words])
    data["store"] = words
    text = page(data)
    held = HELD.search(text)
    assert held is not None
    assert json.loads(held[1]) == data
    assert "<" not in held[1]
    assert text.count("<script") == 2  # in particular, none of ours is commented out


def test_half_a_surrogate_pair_is_kept(small_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = {**report_data(small_store), "store": "\ud800"}
    monkeypatch.setattr("analysis.report.report.report_data", lambda *_, **__: data)
    held = HELD.search(write_report(small_store, tmp_path / "report.html").read_text())
    assert json.loads(held[1])["store"] == "\ud800"


@pytest.mark.parametrize("script", SCRIPTS)
def test_no_script_ends_its_element_early(script: str) -> None:
    text = (PAGE / script).read_text(encoding="utf-8")
    assert "</script" not in text.lower()
    assert "<!--" not in text


@pytest.mark.parametrize("script", [script for script in SCRIPTS if not script.startswith("vendor/")])
def test_stored_text_is_never_put_in_as_html(script: str) -> None:
    text = (PAGE / script).read_text(encoding="utf-8")
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write", text)


def test_the_library_is_the_published_one() -> None:
    about = (PAGE / "vendor" / "README.md").read_text()
    digest = hashlib.sha256((PAGE / "vendor" / "echarts.min.js").read_bytes()).hexdigest()
    assert f"sha256 `{digest}`" in about


def test_the_same_store_gives_the_same_page(small_store: Path, tmp_path: Path) -> None:
    one, two = (write_report(small_store, tmp_path / name).read_bytes() for name in ("a.html", "b.html"))
    assert one == two


def test_a_store_being_written_gives_what_is_finished(make_store: Callable[..., Path], tmp_path: Path) -> None:
    store = make_store(norms=["bn"], records=4)
    (store / "layers" / "run=bn-s0" / "_log.arrows").write_bytes(b"half a record")
    (store / "layers" / "run=sn-s0").mkdir()
    assert write_report(store, tmp_path / "report.html").stat().st_size > 10_000


def test_an_empty_store_raises(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is empty"):
        write_report(tmp_path, tmp_path / "report.html")
