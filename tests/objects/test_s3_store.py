"""A store on a real S3-compatible server: moto's, where it is installed."""

import pandas as pd
import pyarrow as pa
import pyarrow.fs as pafs
import pytest

from probes.storage.files import open_store
from probes.storage.recorder import Recorder
from probes.storage.recovery import recover_dead
from probes.storage.verify import verify


def losses(first: int, last: int) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist([{"step": step, "split": "train"} for step in range(first, last)])


def test_a_run_is_written_killed_recovered_resumed_and_read_on_s3(url):
    recorder = Recorder(url, "a")
    recorder.write("steps", losses(0, 5))
    recorder.flush()
    recorder.write("steps", losses(5, 8))
    recorder._owner.forget()
    [recovered] = recover_dead(open_store(url))
    assert recovered.rows == {"steps": 3}
    with Recorder(url, "a", resume_step=6) as resumed:
        resumed.write("steps", losses(6, 9))
    files = open_store(url)
    table = pd.read_parquet(f"{files.root}/steps", filesystem=files.filesystem)
    assert sorted(table["step"]) == list(range(9))
    assert verify(files).faults == []


def test_nothing_but_parts_stands_in_the_bucket(url):
    with Recorder(url, "a") as recorder:
        recorder.write("steps", losses(0, 2))
    files = open_store(url)
    found = files.filesystem.get_file_info(pafs.FileSelector(files.root, recursive=True))
    assert sorted(info.base_name for info in found if info.is_file) == [
        "part-0.parquet",
        "part-00000001-00000001.parquet",
    ]


def test_sql_reads_a_store_on_s3(url):
    pytest.importorskip("duckdb")
    from analysis.query import query

    with Recorder(url, "a") as recorder:
        recorder.write("steps", losses(0, 4))
    assert query(url, "SELECT count(*) AS n FROM steps WHERE run = 'a'")["n"].tolist() == [4]
