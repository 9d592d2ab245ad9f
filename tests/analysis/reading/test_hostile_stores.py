"""A store from somebody else: links that lead out of it, pipes that never end, folders that are no run's."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

import analysis
from analysis.query import query
from analysis.reading.sample_grids import sample_grids
from probes import schema
from probes.storage.recorder import Recorder

pytestmark = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes and links as POSIX has them")

READ_ALL = """
import json, sys, warnings
from pathlib import Path

store, out = Path(sys.argv[1]), Path(sys.argv[2])
said, runs = set(), set()
warnings.simplefilter("always")
warnings.showwarning = lambda message, *_: said.add(str(message))

import analysis
from analysis.findings import findings_of
from analysis.gallery.gallery import write_figures
from analysis.query import query
from analysis.report.report import write_report
from analysis.reading.run_table import runs as run_table
from analysis.reading.sample_grids import sample_grids
from analysis.reading.depth_order import layer_names
from analysis.terminal.watch import default_column, view

for read in (analysis.layers, analysis.steps, analysis.histograms, analysis.spectra, run_table, sample_grids):
    try:
        runs |= set(read(store)["run"].astype(str))
    except ValueError as reason:
        said.add(str(reason))
for table in ("layers", "histograms", "spectra", "steps", "runs"):
    try:
        runs |= set(query(store, f"SELECT DISTINCT run FROM {table}")["run"])
    except ValueError as reason:
        said.add(str(reason))
layer_names(store)
findings_of(store)
write_report(store, out / "report.html")
drawn = write_figures(store, out, only=["layer_means", "gan_samples"], formats=["svg"])
assert drawn.refused == {}, drawn.refused
view(store, column=default_column(store))
print(json.dumps({"said": sorted(said), "runs": sorted(runs)}))
"""


def record(store: Path, run: str) -> None:
    with Recorder(store, run, config={"norm": "bn", "model": "cnn3", "data": "mnist"}) as recorder:
        for step in range(3):
            keys = {"step": step, "layer": "conv", "layer_index": 0, "layer_type": "Conv2d"}
            recorder.write("layers", pa.RecordBatch.from_pylist([{**keys, "weight_mean": step / 7, "weight_var": 1.0}]))
            recorder.write("steps", pa.RecordBatch.from_pylist([{"step": step, "split": "train", "loss": 1.0}]))


def put_grid(store: Path, run: str) -> Path:
    from matplotlib.image import imsave

    grid = store / "samples" / f"run={run}" / "step-00000001.png"
    grid.parent.mkdir(parents=True)
    imsave(grid, pd.DataFrame([[0.0, 1.0]] * 64).to_numpy().repeat(32, axis=1))
    return grid


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store with one honest run."""
    record(tmp_path / "runs", "honest")
    put_grid(tmp_path / "runs", "honest")
    return tmp_path / "runs"


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """Another store, whose run must not be seen from the first."""
    place = tmp_path / "elsewhere"
    record(place, "stolen")
    put_grid(place, "stolen")
    recorder = Recorder(place, "logged")
    keys = {"step": 9, "layer": "conv", "layer_index": 0, "layer_type": "Conv2d"}
    recorder.write("layers", pa.RecordBatch.from_pylist([{**keys, "weight_mean": 1.0}]))
    shutil.copytree(place / "_writers", tmp_path / "log")
    recorder.close()
    shutil.rmtree(place / "_writers", ignore_errors=True)
    (tmp_path / "log").rename(place / "_writers")
    return place


def read_all(store: Path, out: Path) -> tuple[list[str], list[str]]:
    """Run every reader in a process of its own; return what it said and the runs it saw."""
    command = [sys.executable, "-c", READ_ALL, str(store), str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    told = json.loads(done.stdout)
    return told["said"], told["runs"]


def test_no_reader_follows_links_or_waits_at_pipes_or_takes_any_name_for_a_run(
    store: Path, elsewhere: Path, tmp_path: Path, tree_of: Callable[[Path], dict]
) -> None:
    def at(*names: str) -> Path:
        path = store.joinpath(*names)
        path.parent.mkdir(parents=True, exist_ok=True)
        forged.append(path)
        return path

    forged: list[Path] = []
    [part] = elsewhere.glob("layers/run=stolen/*.parquet")
    [log] = elsewhere.glob("_writers/logged/layers-*.arrows")
    [grid] = elsewhere.glob("samples/run=stolen/*.png")
    honest = "run=honest"
    at("histograms").symlink_to(elsewhere / "layers")
    at("layers", "run=linked").symlink_to(elsewhere / "layers" / "run=stolen")
    at("layers", honest, "part-00000007-00000007.parquet").symlink_to(part)
    at("_writers", "linked").symlink_to(elsewhere / "_writers" / "logged")
    at("_writers", "honest", "layers-00000009.arrows").symlink_to(log)
    at("samples", "run=linked").symlink_to(grid.parent)
    at("samples", honest, "step-00000002.png").symlink_to(grid)
    os.mkfifo(at("layers", honest, "part-00000008-00000008.parquet"))
    os.mkfifo(at("runs", honest, "part-1.parquet"))
    os.mkfifo(at("_writers", "honest", "steps-00000009.arrows"))
    os.mkfifo(at("samples", honest, "step-00000003.png"))
    at("layers", honest, "folder.parquet").mkdir()
    for name in ("..", ".", "", "nan", "-rf", "a b", "x" * 121, "naïve", "new\nline"):
        shutil.copytree(elsewhere / "layers" / "run=stolen", at("layers", f"run={name}"))
        shutil.copytree(elsewhere / "runs" / "run=stolen", at("runs", f"run={name}"))
    shutil.copytree(elsewhere / "_writers" / "logged", at("_writers", "1st"))
    before, beside = tree_of(store), tree_of(elsewhere)

    said, runs = read_all(store, tmp_path / "out")

    assert runs == ["honest"]
    assert (tree_of(store), tree_of(elsewhere)) == (before, beside)
    for path in forged:
        assert any(text.startswith(f"{str(path)!r} is left out: ") for text in said), f"{path}: not a word in {said}"


@pytest.mark.parametrize("name", ["_writers", "layers", "samples", "runs"])
def test_a_whole_folder_that_is_a_link_is_left_out(name: str, store: Path, elsewhere: Path) -> None:
    shutil.rmtree(store / name, ignore_errors=True)
    (store / name).symlink_to(elsewhere / name)
    seen = set()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        for read in (
            analysis.layers,
            analysis.runs,
            sample_grids,
            lambda store: query(store, "SELECT run FROM layers"),
        ):
            with suppress(ValueError):  # the table is not there
                seen |= set(read(store)["run"].astype(str))
    assert seen == {"honest"}
    assert any(f"{name}' is left out: it is a symbolic link: copy the run" in str(line.message) for line in said)


def test_a_store_whose_root_is_a_link_is_read(store: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(store)
    assert len(analysis.layers(tmp_path / "link")) == 3
    assert len(query(tmp_path / "link", "SELECT * FROM layers")) == 3
    assert len(sample_grids(tmp_path / "link")) == 1


def test_a_log_that_cannot_be_opened_does_not_hide_the_parts(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scandir = os.scandir

    def refusing(path: Path) -> object:
        if Path(path).name == schema.WRITERS:
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    (store / schema.WRITERS).mkdir()
    monkeypatch.setattr(os, "scandir", refusing)  # as root, who runs some tests, everything can be opened
    with pytest.warns(UserWarning, match="_writers' is left out: .*Permission denied"):
        assert len(analysis.layers(store)) == 3
