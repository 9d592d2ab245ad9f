"""Text of a stranger's store is text, wherever it is shown."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import analysis
import meandrift as md
from analysis.csv_text import as_csv
from analysis.gallery.gallery import write_figures
from analysis.paper.table_text import to_csv, to_latex, to_markdown
from analysis.report.report import write_report
from dynamics import cli
from probes.schema.printable import one_line, printable
from probes.storage.recorder import Recorder

WORDS = (
    "[/b]",
    "\x1b[2J\x1b]0;owned\x07",
    "<!--<script>alert(1)</script>",
    "=HYPERLINK(1)",
    "$\\frac",
    "\u202e\nBAD x",
    "_x",
    "$\\sigma$",
)


def record(store: Path, run: str, **config: object) -> None:
    with Recorder(store, run, config={"norm": WORDS[2], **config}) as recorder:
        for step in range(3):
            keys = [
                {"step": step, "layer": word, "layer_index": at, "layer_type": "Conv2d"}
                for at, word in enumerate(WORDS)
            ]
            numbers = {"weight_mean": step / 7, "weight_var": 1.0, "grad_l2_norm": 1e-12 * step, "spectral_norm": 1.0}
            recorder.write("layers", pa.RecordBatch.from_pylist([{**key, **numbers} for key in keys]))
            losses = [{"step": step, "split": word, "loss": 1.0} for word in ("train", *WORDS)]
            recorder.write("steps", pa.RecordBatch.from_pylist(losses))
    [row] = store.glob(f"runs/run={run}/*.parquet")
    rows = pq.ParquetFile(row).read()
    for name in ("status", "device"):
        rows = rows.set_column(rows.column_names.index(name), name, pa.array([" ".join(WORDS)]))
    pq.write_table(rows, row)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store whose layers, splits, settings and status were named by somebody who means harm."""
    store = tmp_path_factory.mktemp("hostile") / "store"
    record(store, "a")
    return store


def test_no_command_sends_an_escape_sequence_of_a_store_to_the_terminal(hostile, capsys, recwarn):
    for words in (
        ["runs", str(hostile)],
        ["watch", str(hostile), "--once"],
        ["check", str(hostile)],
        ["query", "SELECT DISTINCT layer FROM layers", "--store", str(hostile)],
        ["query", "SELECT no_such_column FROM layers WHERE layer = '\x1b[2J'", "--store", str(hostile)],
        ["verify", "--store", str(hostile)],
        ["figures", str(hostile), "--only", "x", "--layers", "\x1b[2J"],
    ):
        cli.run(words)
        told = capsys.readouterr()
        assert told.out or told.err
        assert not set("\x1b\x07\u202e") & set(told.out + told.err), words
        assert "\nBAD x" not in told.out
    cli.run(["watch", str(hostile), "--once"])
    assert "[/b]" in capsys.readouterr().out  # a name is shown as it is, not as markup


def test_no_stored_text_is_markup_in_the_report(hostile, tmp_path):
    page = write_report(hostile, tmp_path / "report.html").read_text()
    assert "<!--<script>" not in page
    assert "alert(1)" in page


def test_no_stored_text_is_a_formula_in_csv(hostile, tmp_path, capsys):
    cli.run(["export", str(tmp_path / "layers.csv"), "--store", str(hostile)])
    with (tmp_path / "layers.csv").open(newline="") as file:
        exported = list(csv.DictReader(file))
    assert {row["layer"] for row in exported} >= {"'=HYPERLINK(1)", "[/b]"}
    assert {row["weight_mean"] for row in exported} >= {"0"}
    capsys.readouterr()
    cli.run(["query", "SELECT DISTINCT layer FROM layers", "--store", str(hostile), "--format", "csv"])
    assert "'=HYPERLINK(1)" in capsys.readouterr().out.splitlines()
    table = pd.DataFrame({"@name": ["+1", "x"], "value": [-1.5, 2.0]})
    assert list(csv.reader(io.StringIO(as_csv(table)))) == [["'@name", "value"], ["'+1", "-1.5"], ["x", "2.0"]]
    assert to_csv(table, caption="").startswith("'@name,value\n'+1,-1.5\n")


def test_stored_text_is_text_in_latex_markdown_and_figures(hostile, tmp_path):
    table = pd.DataFrame({"model": ["\\input{/etc/passwd}", "a | b", "<b>", "50% $x$ ~^"], "parameters": [1, 2, 3, 4]})
    latex, markdown = to_latex(table, caption="A"), to_markdown(table, caption="A")
    assert r"\textbackslash{}input\{/etc/passwd\}" in latex
    assert r"50\% \$x\$ \textasciitilde{}\textasciicircum{}" in latex
    assert [line.count("|") - line.count("\\|") for line in markdown.splitlines()[2:]] == [3] * 6
    assert "&lt;b&gt;" in markdown
    drawn = write_figures(hostile, tmp_path, only="layer_means", layers=[3, 4, 7], formats=["svg"])
    assert drawn.refused == {}
    picture = (tmp_path / "layer_means.svg").read_text()
    assert "$\\frac" in picture
    assert ">$\\sigma$</text>" in picture  # no mathematics, as the figure's own formula is


def test_settings_in_file_names_are_short_and_tell_values_apart(tmp_path):
    names = ["../../x", "..-..-x", "y" * 300, "y" * 299 + "z"]
    for at, name in enumerate(names):
        record(tmp_path / "store", f"r{at}", model=name)
    drawn = write_figures(tmp_path / "store", tmp_path / "out", only="layer_means", formats=["svg"])
    assert len(drawn.written) == len(names)
    assert {path.parent for paths in drawn.written.values() for path in paths} == {tmp_path / "out"}
    assert max(len(stem) for stem in drawn.written) < 80


def test_text_that_can_be_shown_is_shown_as_it_is():
    for text in ("conv1.weight", "层.卷积", "é", "a b", "10⁻³"):
        assert printable(text) == text
    assert printable("\ud800x\x9b") == "\\ud800x\\x9b"
    assert one_line("a\n  b\x1b") == "a b\\x1b"
    assert len(one_line("x" * 10_000)) < 450


def test_readers_of_tables_keep_stored_text_as_it_is(hostile):
    assert set(analysis.layers(hostile)["layer"]) == set(WORDS)


def test_what_a_notebook_shows_of_a_store_is_text(hostile: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for table in (md.runs(hostile), md.findings(hostile)):
        for text in (repr(table), str(table)):
            assert not set("\x1b\x07\u202e") & set(text)
        assert "<script" not in table._repr_html_()


def test_a_difference_in_a_hostile_layer_is_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for run in ("a", "b"):
        with Recorder(tmp_path, run) as recorder:
            keys = {"step": 0, "layer": WORDS[1], "layer_index": 0, "layer_type": "Conv2d"}
            recorder.write("layers", pa.RecordBatch.from_pylist([{**keys, "weight_mean": float(ord(run))}]))
    assert cli.run(["diff", "a", "b", "--store", str(tmp_path)]) == 1
    said = capsys.readouterr().out
    assert r"\x1b[2J" in said
    assert not set("\x1b\x07") & set(said)
