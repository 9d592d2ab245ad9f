"""Stores that are no local folder: parts are put there whole, the log stays here."""

from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.fs as pafs
import pytest

from analysis.query import query
from probes.storage.files import LocalStoreFiles, open_store
from probes.storage.recorder import Recorder
from probes.storage.recovery import recover_dead
from probes.storage.removal import remove_run
from probes.storage.spool import spool_folder
from probes.storage.verify import verify

pytest.importorskip("fsspec", reason="memory:// is an fsspec file system")


def losses(first: int, last: int) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist(
        [{"step": step, "split": "train", "loss": step / 3} for step in range(first, last)]
    )


@pytest.fixture
def url(spool: Path, request: pytest.FixtureRequest) -> str:
    """A store in memory, of the test's own."""
    return f"memory://{request.node.name}"


def steps_of(url: str, run: str) -> list[int]:
    files = open_store(url)
    paths = [f"{files.folder('steps', run)}/{name}" for name in files.parts("steps", run)]
    return ds.dataset(paths, filesystem=files.filesystem).to_table()["step"].to_pylist() if paths else []


def test_a_remote_store_has_the_same_tables_and_no_log(url, spool):
    with Recorder(url, "a", config={"seed": 0}) as recorder:
        recorder.write("steps", losses(0, 3))
        recorder.flush()
        recorder.write("steps", losses(3, 4))
        assert list(spool.glob("*/_writers/a/*.arrows"))
    files = open_store(url)
    assert steps_of(url, "a") == [0, 1, 2, 3]
    assert verify(files).faults == []
    found = files.filesystem.get_file_info(pafs.FileSelector(files.root, recursive=True))
    assert sorted(info.base_name for info in found if info.is_file) == [
        "part-0.parquet",
        "part-00000001-00000001.parquet",
        "part-00000002-00000002.parquet",
    ]
    assert not list(spool.glob("*/_writers"))


def test_a_dead_writer_of_a_remote_store_is_recovered_from_the_spool(url):
    recorder = Recorder(url, "a")
    recorder.write("steps", losses(0, 3))
    recorder._owner.forget()
    [recovered] = recover_dead(open_store(url))
    assert recovered.rows == {"steps": 3}
    assert steps_of(url, "a") == [0, 1, 2]


def test_a_remote_run_can_be_resumed_overwritten_and_removed(url):
    with Recorder(url, "a") as recorder:
        for first in (0, 4):
            recorder.write("steps", losses(first, first + 4))
            recorder.flush()
    with Recorder(url, "a", resume_step=2) as recorder:
        recorder.write("steps", losses(2, 3))
    assert steps_of(url, "a") == [0, 1, 2]
    with pytest.raises(ValueError, match="run 'a' exists"):
        Recorder(url, "a")
    with Recorder(url, "a", overwrite=True) as recorder:
        recorder.write("steps", losses(9, 10))
    assert steps_of(url, "a") == [9]
    remove_run(open_store(url), "a")
    assert open_store(url).runs() == []


def test_two_writers_on_this_machine_cannot_take_the_same_remote_run(url):
    with Recorder(url, "a"), pytest.raises(ValueError, match="is being written by process"):
        Recorder(url, "a", resume_step=0)


def test_a_part_that_cannot_be_uploaded_stays_in_the_log(url, monkeypatch):
    recorder = Recorder(url, "a")
    recorder.write("steps", losses(0, 3))
    with monkeypatch.context() as broken:

        def fail(*_: object) -> None:
            raise OSError("the network is down")

        broken.setattr("probes.storage.files.StoreFiles._upload", fail)
        with pytest.raises(OSError, match="the network is down"):
            recorder.flush()
    recorder.write("steps", losses(3, 4))
    recorder.close()
    assert steps_of(url, "a") == [0, 1, 2, 3]


def test_sql_reads_a_remote_store(url):
    pytest.importorskip("duckdb")
    with Recorder(url, "a") as recorder:
        recorder.write("steps", losses(0, 4))
    assert query(url, "SELECT run, max(step) AS last FROM steps GROUP BY run").to_dict("list") == {
        "run": ["a"],
        "last": [3],
    }


def test_a_file_url_is_a_local_folder(tmp_path):
    files = open_store((tmp_path / "store").as_uri())
    assert isinstance(files, LocalStoreFiles)
    assert Path(files.root) == tmp_path / "store"


def test_an_unknown_scheme_is_refused_with_what_both_libraries_say():
    with pytest.raises(ValueError, match=r"store 'gopher://x': pyarrow says: .*; fsspec says: .*"):
        open_store("gopher://x")


def test_each_url_has_a_spool_of_its_own_that_tells_no_password(spool, monkeypatch, tmp_path):
    first = spool_folder("s3://key:secret@bucket/runs")
    assert first.parent == spool
    assert "secret" not in str(first)
    assert first == spool_folder("s3://key:secret@bucket/runs/")
    assert first != spool_folder("s3://key:secret@bucket/other")
    monkeypatch.delenv("MEANDRIFT_SPOOL")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert spool_folder("s3://bucket").parent == tmp_path / "state" / "meandrift"
    monkeypatch.delenv("XDG_STATE_HOME")
    assert spool_folder("s3://bucket").parent == Path.home() / ".local" / "state" / "meandrift"


def test_without_a_home_the_spool_is_where_temporary_files_are(monkeypatch, tmp_path):
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    for name in ("MEANDRIFT_SPOOL", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert spool_folder("s3://bucket").parent == tmp_path / "meandrift"
    with Recorder(tmp_path / "runs", "a") as recorder:
        recorder.write("steps", losses(0, 1))
