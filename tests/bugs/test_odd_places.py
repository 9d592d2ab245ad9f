"""A store in a folder of any name: of a sweep (``lr=0.5``), with spaces, or with letters that URLs and patterns use.

Sources: duckdb/duckdb#10431 and #12325, PR #5901 (a folder ``k=v`` above the table is taken for a partition).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

import analysis
from analysis.gallery.gallery import write_figures
from analysis.query import query
from analysis.reading.store import Store
from analysis.report.data import report_data
from dynamics.cli import run as command
from probes import Recorder
from probes.schema import local_folder
from probes.storage.export import export
from probes.storage.files import open_store
from probes.storage.listing import list_runs
from probes.storage.recovery import recover_dead
from probes.storage.verify import verify

PLACES = [
    "lr=0.5",
    "run=3",
    "run=other/layers",
    "step=7/layer=x",
    "a b",
    "größe-模型",
    "a#b",
    "a%20b%",
    "what?",
    "star*",
    "br[ac]ket",
    "{brace}",
    'it\'s "quoted"',
    "back\\slash",
    "~",
]
SHOWN = ["lr=0.5", "a#b", "br[ac]ket"]  # also drawn, and opened by every command, which takes longer
KEYS = {"layer": "conv", "layer_index": 0, "layer_type": "Conv2d"}
RATES = [0.5, 0.25, 0.125]


def record(store: Path | str) -> None:
    """Record the finished run ``bn``, and the run ``sn`` of a killed writer, whose rows are in its log alone."""
    for run in ("bn", "sn"):
        recorder = Recorder(store, run, config={"norm": run, "seed": 0})
        for step, rate in enumerate(RATES):
            layer = {"step": step, **KEYS, "weight_mean": step / 2, "weight_var": 1.0}
            recorder.write("layers", pa.RecordBatch.from_pylist([layer]))
            split = {"step": step, "split": "train", "loss": 1.0, "lr": rate}
            recorder.write("steps", pa.RecordBatch.from_pylist([split]))
        recorder._owner.forget() if run == "sn" else recorder.close()


def rows_by_run(table: pd.DataFrame, column: str) -> dict[str, list[float]]:
    return {run: rows[column].tolist() for run, rows in table.astype({"run": str}).groupby("run")}


def check_analysis(place: str) -> None:
    assert rows_by_run(analysis.steps(place), "lr") == {"bn": RATES, "sn": RATES}
    layers = analysis.layers(place)
    assert list(layers) == ["run", "step", *KEYS, "weight_mean", "weight_var"]
    assert analysis.layers(place, runs="bn", steps=(1, 1), layers="conv")["weight_mean"].tolist() == [0.5]
    assert analysis.runs(place).set_index("run")["norm"].to_dict() == {"bn": "bn", "sn": "sn"}
    assert Store(place).tables() == ["layers", "steps", "runs"]


def check_sql(place: str) -> None:
    pytest.importorskip("duckdb")
    assert rows_by_run(query(place, "SELECT run, lr FROM steps ORDER BY step"), "lr") == {"bn": RATES, "sn": RATES}
    assert list(query(place, "SELECT * FROM layers LIMIT 1")) == ["step", *KEYS, "weight_mean", "weight_var", "run"]
    assert query(place, "SELECT weight_mean FROM layers WHERE run = 'bn' AND step = 1").iloc[0, 0] == 0.5


def check_figures(place: str, out: Path) -> None:
    assert list(write_figures(place, out, only="mean_drift", formats=["svg"]).written) == ["mean_drift"]
    assert [run["id"] for run in report_data(place)["runs"]] == ["bn", "sn"]


def check_storage(place: str, out: Path) -> None:
    files = open_store(place)
    assert [(row.run, row.status) for row in list_runs(files)] == [("bn", "finished"), ("sn", "running")]
    for kind in ("parquet", "csv"):
        assert export(files, out / f"steps.{kind}", table="steps", kind=kind) == 2 * len(RATES)
    assert rows_by_run(pd.read_parquet(out / "steps.parquet"), "lr") == {"bn": RATES, "sn": RATES}
    assert rows_by_run(pd.read_csv(out / "steps.csv"), "lr") == {"bn": RATES, "sn": RATES}
    assert verify(files).faults == []
    assert [done.rows for done in recover_dead(files)] == [{"layers": 3, "steps": 3}]
    assert verify(files).faults == []


def check_commands(place: str, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (
        ["runs", place],
        ["verify", "--store", place],
        ["compact", "--store", place],
        ["export", str(out / "again.csv"), "--store", place],
        ["query", "SELECT run, max(lr) FROM steps GROUP BY run", "--store", place],
        ["watch", place, "--once"],
        ["report", place, "--out", str(out / "report.html")],
        ["rm", "sn", "--store", place],
    ):
        assert command(words) == 0, (words, capsys.readouterr())
    assert rows_by_run(analysis.steps(place), "lr") == {"bn": RATES}


@pytest.mark.parametrize("name", PLACES)
def test_every_reader_takes_partitions_from_below_the_store_alone(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = tmp_path / name / "runs"
    place, out = str(store), tmp_path / "out"
    out.mkdir()
    record(store)
    check_analysis(place)
    check_sql(place)
    check_storage(place, out)
    check_analysis(place)  # now from parts alone
    check_sql(place)
    if name in SHOWN:
        check_figures(place, out)
        check_commands(place, out, capsys)
    assert sorted(path.name for path in store.iterdir()) == ["layers", "runs", "steps"]


FORMS: dict[str, Callable[[Path], str]] = {
    "relative": lambda home: os.path.relpath(home / "lr=0.5" / "a#b c" / "runs"),
    "home": lambda _: "~/lr=0.5/a#b c/runs",
    "url": lambda home: (home / "lr=0.5" / "a#b c" / "runs").as_uri(),
    "url of this machine": lambda home: f"file://localhost{home}/lr=0.5/a%23b%20c/runs",
    "link": lambda home: f"{home}/link",
    "folder that is a link": lambda home: f"{home}/linked/a#b c/runs",
}


@pytest.mark.parametrize("form", FORMS)
def test_a_store_is_the_same_by_whatever_name(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    store = tmp_path / "lr=0.5" / "a#b c" / "runs"
    store.mkdir(parents=True)
    (tmp_path / "link").symlink_to(store, target_is_directory=True)
    (tmp_path / "linked").symlink_to(tmp_path / "lr=0.5", target_is_directory=True)
    place, out = FORMS[form](tmp_path), tmp_path / "out"
    out.mkdir()
    record(place)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "linked", "lr=0.5", "out"]
    for name in (place, str(store)):
        check_analysis(name)
        check_sql(name)
    check_storage(place, out)
    check_analysis(str(store))


@pytest.mark.parametrize("url", ["file:///a#b", "file:///a?b", "file://elsewhere/a", "file://a"])
def test_a_file_url_that_means_no_folder_of_this_machine_is_refused(url: str) -> None:
    for opens in (open_store, Store, local_folder):
        with pytest.raises(ValueError, match=r"expected file:///FOLDER with %23 for '#' and %3F for '\?'"):
            opens(url)


def test_a_remote_store_below_a_folder_of_a_sweep_is_read_as_any_other(spool: Path) -> None:
    pytest.importorskip("fsspec", reason="memory:// is an fsspec file system")
    url = "memory://lr=0.5/run=3/step=7/runs"
    with Recorder(url, "bn") as recorder:
        for step, rate in enumerate(RATES):
            split = {"step": step, "split": "train", "loss": 1.0, "lr": rate}
            recorder.write("steps", pa.RecordBatch.from_pylist([split]))
    assert rows_by_run(analysis.steps(url), "lr") == {"bn": RATES}
    assert analysis.runs(url)["run"].tolist() == ["bn"]
    if "duckdb" in sys.modules:
        assert query(url, "SELECT lr FROM steps ORDER BY step")["lr"].tolist() == RATES


def test_a_query_opens_the_parts_of_the_chosen_run_alone(tmp_path: Path) -> None:
    pytest.importorskip("duckdb")
    record(tmp_path / "lr=0.5")
    recover_dead(open_store(tmp_path / "lr=0.5"))
    [part] = (tmp_path / "lr=0.5" / "steps" / "run=sn").iterdir()
    content = part.read_bytes()
    footer = int.from_bytes(content[-8:-4], "little") + 8
    part.write_bytes(content[:4] + bytes(len(content) - footer - 4) + content[-footer:])  # its rows cannot be read
    chosen = query(tmp_path / "lr=0.5", "SELECT lr FROM steps WHERE run = 'bn' ORDER BY step")
    assert chosen["lr"].tolist() == RATES
    with pytest.warns(UserWarning, match=r"run=sn.* is left out: it is damaged"):
        assert query(tmp_path / "lr=0.5", "SELECT lr FROM steps WHERE run = 'sn'").empty
