from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from probes.storage import compaction, parts
from probes.storage.compaction import compact_run
from probes.storage.files import open_store
from probes.storage.ownership import Ownership
from probes.storage.parts import GROUP_BYTES, ROW_GROUP_ROWS, part_name, write_parquet


def counts(rows: int, length: int, first: int = 0) -> pa.Table:
    """Rows of table histograms: long ones."""
    return pa.table({"step": range(first, first + rows), "counts": [list(range(length))] * rows})


def group_rows(path):
    metadata = pq.ParquetFile(path).metadata
    return [metadata.row_group(index).num_rows for index in range(metadata.num_row_groups)]


@pytest.mark.parametrize("length", [1, 500])
def test_a_row_group_has_no_more_rows_or_bytes_than_it_may(length, tmp_path):
    table = counts(2 * ROW_GROUP_ROWS // length + 3, length)
    table = pa.concat_tables([table] * min(length, 20))
    write_parquet(tmp_path / "part.parquet", [table], table.schema)
    found = group_rows(tmp_path / "part.parquet")
    assert sum(found) == table.num_rows
    assert max(found) <= ROW_GROUP_ROWS
    assert max(found) * table.nbytes / table.num_rows <= 1.5 * GROUP_BYTES
    assert len(found) <= 2 + max(table.nbytes / GROUP_BYTES, table.num_rows / ROW_GROUP_ROWS)
    assert pq.read_table(tmp_path / "part.parquet").equals(table.combine_chunks())


def test_a_table_without_rows_is_a_file_without_rows(tmp_path):
    empty = counts(1, 1).slice(0, 0)
    write_parquet(tmp_path / "part.parquet", [empty], empty.schema)
    assert pq.read_table(tmp_path / "part.parquet").num_rows == 0


def test_words_keep_their_meaning_where_dictionaries_change_from_batch_to_batch(tmp_path):
    words = [pa.array(["a", "b"]).dictionary_encode(), pa.array(["c", "a"]).dictionary_encode()]
    table = pa.table({"layer": pa.chunked_array(words)})
    write_parquet(tmp_path / "part.parquet", [table], table.schema)
    assert pq.read_table(tmp_path / "part.parquet")["layer"].to_pylist() == ["a", "b", "c", "a"]


def test_parts_of_long_rows_are_joined_a_few_megabytes_at_a_time(tmp_path, monkeypatch):
    folder = tmp_path / "histograms" / "run=a"
    folder.mkdir(parents=True)
    for number in range(6):
        table = counts(100, 50, first=100 * number)
        write_parquet(folder / part_name(number + 1, number + 1), [table], table.schema)
    for module in (parts, compaction):
        monkeypatch.setattr(module, "GROUP_BYTES", 2 * table.nbytes)
    files = open_store(tmp_path)
    owner = Ownership(files.workspace("a"))
    compact_run(files, "a")
    owner.release()
    assert group_rows(folder / part_name(1, 6)) == [200, 200, 200]
    assert pq.read_table(folder / part_name(1, 6))["step"].to_pylist() == list(range(600))


@pytest.fixture
def arrow_memory():
    """A pool that counts what Arrow takes while the test runs."""
    before = pa.default_memory_pool()
    pool = pa.proxy_memory_pool(before)
    pa.set_memory_pool(pool)
    yield pool
    pa.set_memory_pool(before)


def test_joining_a_run_of_long_rows_takes_a_few_row_groups_of_memory(arrow_memory, tmp_path):
    folder = tmp_path / "histograms" / "run=a"
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    for number in range(20):
        rows = pa.array(list(random.integers(0, 2**40, (700, 250))))
        table = pa.table({"step": range(700 * number, 700 * (number + 1)), "counts": rows})
        write_parquet(folder / part_name(number + 1, number + 1), [table], table.schema)
        del rows, table
    assert arrow_memory.bytes_allocated() == 0
    assert arrow_memory.max_memory() < 2 * GROUP_BYTES  # of the parts themselves: what follows is more
    files = open_store(tmp_path)
    owner = Ownership(files.workspace("a"))
    compact_run(files, "a")
    owner.release()
    assert arrow_memory.max_memory() <= 5 * GROUP_BYTES
    assert sum(group_rows(folder / part_name(1, 20))) == 14_000


@pytest.mark.parametrize(("backend", "expected"), [("mimalloc", 1), ("jemalloc", 1), ("system", 0)])
def test_free_memory_is_given_back_unless_it_is_the_trainings(backend, expected, monkeypatch, tmp_path):
    table, calls = counts(3, 2), []
    pool = SimpleNamespace(backend_name=backend, release_unused=lambda: calls.append(1))
    monkeypatch.setattr(parts.pa, "default_memory_pool", lambda: pool)
    write_parquet(tmp_path / "part.parquet", [table], table.schema)
    assert len(calls) == expected
