import threading
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from probes import schema
from probes.storage import compaction, exchange, parts
from probes.storage.compaction import Compacted, compact_run
from probes.storage.files import open_store
from probes.storage.parts import GROUP_BYTES, write_parquet
from probes.storage.writer_lock import WriterLock


def parts_of(store: Path) -> list[Path]:
    return sorted(store.glob("steps/run=a/part-*.parquet"))


def write_part(store: Path, number: int, steps: range, **columns: object) -> None:
    folder = store / "steps" / "run=a"
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {
        name: each if isinstance(each, pa.Array) else pa.repeat(each, len(steps)) for name, each in columns.items()
    }
    rows = pa.table({"step": list(steps), **arrays})
    write_parquet(store / "unfinished", [rows], rows.schema)
    (store / "unfinished").replace(folder / schema.part_name(number, number))


def compact(store: Path) -> list[Compacted]:
    files = open_store(store)
    owner = WriterLock(files.workspace("a"))
    try:
        return compact_run(files, "a")
    finally:
        owner.release()


def group_rows(path: Path) -> list[int]:
    metadata = pq.ParquetFile(path).metadata
    return [metadata.row_group(index).num_rows for index in range(metadata.num_row_groups)]


def read(paths: list[Path]) -> list[int]:
    return [step for path in paths for step in pq.ParquetFile(path).read()["step"].to_pylist()]


def test_small_parts_become_one_with_the_same_rows_in_order(tmp_path):
    for number in range(5):
        write_part(tmp_path, number + 1, range(number * 10, number * 10 + 10))
    assert compact(tmp_path) == [Compacted("steps", 5, 1)]
    assert [path.name for path in parts_of(tmp_path)] == [schema.part_name(1, 5)]
    assert read(parts_of(tmp_path)) == list(range(50))


def test_columns_that_some_parts_lack_are_null_in_the_compacted_part(tmp_path):
    write_part(tmp_path, 1, range(1))
    write_part(tmp_path, 2, range(1, 2), mine=2.5)
    compact(tmp_path)
    assert pq.ParquetFile(parts_of(tmp_path)[0]).read()["mine"].to_pylist() == [None, 2.5]


def test_a_large_part_is_kept_as_it_is_and_its_neighbours_join(tmp_path, monkeypatch):
    monkeypatch.setattr(compaction, "LARGE_ROWS", 100)
    for number, size in enumerate([10, 10, 100, 10, 10], start=1):
        write_part(tmp_path, number, range(number * 1000, number * 1000 + size))
    large = parts_of(tmp_path)[2].stat().st_ino
    rows = read(parts_of(tmp_path))
    assert compact(tmp_path) == [Compacted("steps", 5, 3)]
    assert [path.name for path in parts_of(tmp_path)] == [
        schema.part_name(1, 2),
        schema.part_name(3, 3),
        schema.part_name(4, 5),
    ]
    assert parts_of(tmp_path)[1].stat().st_ino == large
    assert read(parts_of(tmp_path)) == rows


def test_row_groups_are_filled_across_parts(tmp_path, monkeypatch):
    monkeypatch.setattr(compaction, "ROW_GROUP_ROWS", 25)
    for number in range(10):
        write_part(tmp_path, number + 1, range(number * 10, number * 10 + 10))
    compact(tmp_path)
    assert group_rows(parts_of(tmp_path)[0]) == [30, 30, 30, 10]


def test_parts_of_long_rows_are_joined_a_few_megabytes_at_a_time(tmp_path, monkeypatch):
    for number in range(6):
        write_part(tmp_path, number + 1, range(100 * number, 100 * number + 100), counts=list(range(50)))
    row = 8 + 4 + 50 * 8  # bytes of a step, an offset, the counts
    for module in (parts, compaction):
        monkeypatch.setattr(module, "GROUP_BYTES", 200 * row)
    compact(tmp_path)
    assert group_rows(parts_of(tmp_path)[0]) == [200, 200, 200]
    assert read(parts_of(tmp_path)) == list(range(600))


@pytest.fixture
def arrow_memory():
    """A pool that counts what Arrow takes while the test runs."""
    before = pa.default_memory_pool()
    pool = pa.proxy_memory_pool(before)
    pa.set_memory_pool(pool)
    yield pool
    pa.set_memory_pool(before)


def test_joining_a_run_of_long_rows_takes_a_few_row_groups_of_memory(arrow_memory, tmp_path):
    random = np.random.default_rng(0)
    for number in range(20):
        counts = pa.array(list(random.integers(0, 2**40, (700, 250))))
        write_part(tmp_path, number + 1, range(700 * number, 700 * number + 700), counts=counts)
        del counts
    assert arrow_memory.bytes_allocated() == 0
    assert arrow_memory.max_memory() < 2 * GROUP_BYTES  # of the parts themselves: what follows is more
    compact(tmp_path)
    assert arrow_memory.max_memory() <= 5 * GROUP_BYTES
    assert sum(group_rows(parts_of(tmp_path)[0])) == 14_000


def test_a_reader_at_any_moment_sees_every_row_once_or_must_list_again(tmp_path):
    """Many compactions under a reader that lists, then opens one path after the other, as globbing readers do."""
    stop = threading.Event()
    seen, listed_again, wrong = [0], [0], []

    def read_on() -> None:
        while not stop.is_set():
            paths = parts_of(tmp_path)
            try:
                rows = read(paths)
            except FileNotFoundError:
                listed_again[0] += 1
                continue
            seen[0] += 1
            if rows != list(range(len(rows))):
                wrong.append(rows)

    write_part(tmp_path, 1, range(1))
    reader = threading.Thread(target=read_on)
    reader.start()
    for number in range(1, 60):
        write_part(tmp_path, number + 1, range(number, number + 1))
        if number % 3 == 0:
            compact(tmp_path)
        while reader.is_alive() and seen[0] < number / 5:  # a reader that gets no core would see only the end
            time.sleep(0.001)
    stop.set()
    reader.join()
    assert wrong == []
    assert seen[0] > 10


def test_where_folders_cannot_change_places_parts_stay_as_they_are(tmp_path, monkeypatch):
    for number in range(3):
        write_part(tmp_path, number + 1, range(number, number + 1))
    before = parts_of(tmp_path)
    monkeypatch.setattr(compaction, "exchange", lambda *_: False)
    assert compact(tmp_path) == [Compacted("steps", 3, 3)]
    assert parts_of(tmp_path) == before
    assert not (tmp_path / "_writers").exists()


def test_a_file_of_someone_elses_in_the_folder_is_kept(tmp_path):
    for number in range(2):
        write_part(tmp_path, number + 1, range(number, number + 1))
    (tmp_path / "steps" / "run=a" / "notes.txt").write_text("mine")
    compact(tmp_path)
    assert len(parts_of(tmp_path)) == 1
    assert (tmp_path / "steps" / "run=a" / "notes.txt").read_text() == "mine"


def test_an_unreadable_part_stops_compaction_and_is_named(tmp_path):
    for number in range(3):
        write_part(tmp_path, number + 1, range(number, number + 1))
    parts_of(tmp_path)[1].write_bytes(b"garbage")
    before = parts_of(tmp_path)
    with pytest.raises(OSError, match=rf"{schema.part_name(2, 2)} is not a readable Parquet file"):
        compact(tmp_path)
    assert parts_of(tmp_path) == before


def test_a_column_that_became_wider_on_resume_is_wide_in_the_compacted_part(tmp_path):
    write_part(tmp_path, 1, range(1), mine=pa.scalar(1.5, pa.float32()))
    write_part(tmp_path, 2, range(1, 2), mine=2.5)
    compact(tmp_path)
    joined = pq.ParquetFile(parts_of(tmp_path)[0]).read()["mine"]
    assert joined.type == pa.float64()
    assert joined.to_pylist() == [1.5, 2.5]


def test_a_column_that_became_something_else_keeps_the_parts_as_they_are(tmp_path):
    write_part(tmp_path, 1, range(1), mine=1.5)
    write_part(tmp_path, 2, range(1, 2), mine="text")
    with pytest.raises(OSError, match=r"run=a cannot be joined: .*mine has incompatible types"):
        compact(tmp_path)
    assert len(parts_of(tmp_path)) == 2


def test_exchange_gives_each_folder_the_others_name(tmp_path):
    for name in ("left", "right"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"from_{name}").touch()
    if not exchange.exchange(tmp_path / "left", tmp_path / "right"):
        pytest.skip("this platform or file system cannot exchange folders")
    assert [path.name for path in (tmp_path / "left").iterdir()] == ["from_right"]
    assert [path.name for path in (tmp_path / "right").iterdir()] == ["from_left"]


def test_exchange_with_a_folder_that_is_not_there_raises(tmp_path):
    (tmp_path / "left").mkdir()
    with pytest.raises(FileNotFoundError):
        exchange.exchange(tmp_path / "left", tmp_path / "right")


@pytest.mark.parametrize("platform", ["win32", "freebsd14"])
def test_exchange_says_no_where_there_is_no_such_call(tmp_path, monkeypatch, platform):
    monkeypatch.setattr(exchange.sys, "platform", platform)
    assert exchange.exchange(tmp_path, tmp_path) is False
