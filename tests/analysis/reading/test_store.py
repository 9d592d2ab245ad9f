"""One Store is listed and opened once, whoever reads it, in a folder or at a URL."""

from __future__ import annotations

import os
import pickle
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pytest

import analysis
from analysis.gallery.figure import prepare
from analysis.gallery.gallery import write_figures
from analysis.paper.table_book import write_tables
from analysis.query import query
from analysis.reading.sample_grids import sample_grids
from analysis.reading.store import Store
from analysis.report.data import report_data
from probes.storage.recorder import Recorder

LOGGED = {"step": 99, "layer": "conv", "layer_index": 0, "layer_type": "Conv2d", "weight_mean": 1.0}


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Name the table of each data set that is opened."""
    tables: list[str] = []
    plain = ds.dataset

    def counted(files: list[str], **how: Any) -> ds.Dataset:
        tables.append(Path(files[0]).parts[-3])
        return plain(files, **how)

    monkeypatch.setattr(ds, "dataset", counted)
    return tables


@pytest.fixture
def url(small_store: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """The small store in a file system of memory."""
    memory = pytest.importorskip("fsspec", reason="memory:// is an fsspec file system").filesystem("memory")
    memory.put(str(small_store), f"/{request.node.name}", recursive=True)
    yield f"memory://{request.node.name}"
    memory.rm(f"/{request.node.name}", recursive=True)


def test_a_figure_opens_each_table_once(small_store: Path, opened: list[str]) -> None:
    prepare("mean_drift", small_store)
    assert opened == ["runs", "layers"]


def test_a_gallery_opens_each_table_once(small_store: Path, tmp_path: Path, opened: list[str]) -> None:
    only = "mean_drift,layer_means,dead_fraction,accuracy,spectrum"
    assert write_figures(small_store, tmp_path, only=only, formats=["svg"]).refused == {}
    assert sorted(opened) == ["channels", "layers", "runs", "spectra", "steps"]


def test_a_report_opens_each_table_once_however_many_runs_there_are(small_store: Path, opened: list[str]) -> None:
    report_data(small_store)
    first_run = {"layers": 1}  # by which the points of a line are chosen
    tables = ("layers", "steps", "runs", "histograms", "spectra", "channels", "units")
    assert Counter(opened) == Counter(dict.fromkeys(tables, 1)) + Counter(first_run)


def test_an_open_store_serves_all_that_a_path_serves(small_store: Path, tmp_path: Path) -> None:
    store = Store(small_store)
    for read in (analysis.layers, analysis.steps, analysis.histograms, analysis.spectra, analysis.runs):
        pd.testing.assert_frame_equal(read(store), read(small_store))
    assert analysis.fields(store, "layers") == analysis.fields(small_store, "layers")
    assert write_tables(store).texts == write_tables(small_store).texts
    assert write_figures(store, tmp_path, only="mean_drift", formats=["svg"]).written


def test_a_url_serves_all_that_a_folder_serves(small_store: Path, url: str) -> None:
    for read in (analysis.layers, analysis.steps, analysis.histograms, analysis.spectra, analysis.runs):
        pd.testing.assert_frame_equal(read(url), read(small_store))
    chosen = {"runs": "sn-*", "layers": "block1.conv", "columns": ["weight_mean"], "steps": (1, None)}
    pd.testing.assert_frame_equal(analysis.layers(url, **chosen), analysis.layers(small_store, **chosen))
    drawn, local = prepare("mean_drift", url), prepare("mean_drift", small_store)
    pd.testing.assert_frame_equal(drawn.table, local.table)
    named = {"store": "", "columns": []}  # the lines of pandas have the store's name
    assert {**report_data(url), **named} == {**report_data(small_store), **named}


def test_a_url_without_parts_or_images_is_told_as_such(url: str) -> None:
    with pytest.raises(ValueError, match="has no part of any table: check the URL"):
        analysis.layers(f"{url}/nowhere")
    with pytest.raises(ValueError, match="no run matches 'wn'; there are: bn-s0"):
        analysis.layers(url, runs="wn")
    with pytest.raises(ValueError, match="sample grids are read from folders only"):
        sample_grids(url)


def test_a_file_url_is_the_folder_with_its_logs(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "runs", "live")
    recorder.write("layers", pa.RecordBatch.from_pylist([LOGGED]))
    assert analysis.layers((tmp_path / "runs").as_uri())["step"].tolist() == [99]
    recorder.close()


def test_a_store_is_called_by_its_folder_or_the_end_of_its_url(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert Store(".").name == tmp_path.name
    assert Store(url).name == url.removeprefix("memory://")
    assert str(Store("runs")) == "runs"


def test_a_store_goes_to_another_process_as_its_place(small_store: Path) -> None:
    store = Store(small_store)
    whole = analysis.layers(store)
    assert len(pickle.dumps(store)) < 500
    pd.testing.assert_frame_equal(analysis.layers(pickle.loads(pickle.dumps(store))), whole)


def test_rows_recorded_later_are_seen_by_the_next_store(tmp_path: Path) -> None:
    with Recorder(tmp_path, "live") as recorder:
        recorder.write("layers", pa.RecordBatch.from_pylist([LOGGED]))
        store = Store(tmp_path)
        assert len(analysis.layers(store)) == 1
        recorder.write("layers", pa.RecordBatch.from_pylist([{**LOGGED, "step": 100}]))
        assert (len(analysis.layers(store)), len(analysis.layers(tmp_path))) == (1, 2)


@pytest.mark.parametrize("read", [analysis.layers, lambda store: query(store, "SELECT * FROM layers")], ids=["", "sql"])
def test_an_open_store_whose_parts_were_exchanged_is_listed_anew(
    read: Callable[[Store], pd.DataFrame], small_store: Path, tmp_path: Path
) -> None:
    shutil.copytree(small_store, tmp_path / "runs")
    store = Store(tmp_path / "runs")
    whole = read(store)
    for part in (tmp_path / "runs" / "layers").rglob("*.parquet"):
        os.rename(part, part.with_name(f"all-{part.name}"))  # noqa: PTH104
    assert len(read(store)) == len(whole)
