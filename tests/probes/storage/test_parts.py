from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from probes.storage import parts
from probes.storage.parts import GROUP_BYTES, ROW_GROUP_ROWS, write_parquet


def counts(rows: int, length: int) -> pa.Table:
    """Rows of table histograms: long ones."""
    return pa.table({"step": range(rows), "counts": [list(range(length))] * rows})


@pytest.mark.parametrize("length", [1, 500])
def test_a_row_group_has_no_more_rows_or_bytes_than_it_may(length, tmp_path):
    table = counts(2 * ROW_GROUP_ROWS // length + 3, length)
    table = pa.concat_tables([table] * min(length, 20))
    write_parquet(tmp_path / "part.parquet", [table], table.schema)
    metadata = pq.ParquetFile(tmp_path / "part.parquet").metadata
    found = [metadata.row_group(index).num_rows for index in range(metadata.num_row_groups)]
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


@pytest.mark.parametrize(("backend", "expected"), [("mimalloc", 1), ("jemalloc", 1), ("system", 0)])
def test_free_memory_is_given_back_unless_it_is_the_trainings(backend, expected, monkeypatch, tmp_path):
    table, calls = counts(3, 2), []
    pool = SimpleNamespace(backend_name=backend, release_unused=lambda: calls.append(1))
    monkeypatch.setattr(parts.pa, "default_memory_pool", lambda: pool)
    write_parquet(tmp_path / "part.parquet", [table], table.schema)
    assert len(calls) == expected
