"""Run ids, column descriptions and histogram bins."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from probes import schema
from probes.storage.recorder import Recorder


@pytest.mark.parametrize("run", ["bn-s0", "a", "Msn.lr0.001_seed3", "x" * 120])
def test_run_id_that_every_reader_takes_for_a_string_passes(run: str) -> None:
    assert schema.check_run_id(run) == run
    assert schema.is_run_id(run)


@pytest.mark.parametrize(
    "run",
    [
        "",
        "3",
        "2026-11-22",
        "1e5",
        "../x",
        "a/b",
        "a b",
        "nan",
        "None",
        "x" * 121,
        "run=1",
        "é",
        "a%20b",
        "..",
        "a\n",
        None,
    ],
)
def test_run_id_that_a_reader_could_misread_is_refused(run: str) -> None:
    with pytest.raises(ValueError, match="expected a letter, then letters, digits"):
        schema.check_run_id(run)
    assert run is None or not schema.is_run_id(run)


def test_names_of_parts_and_segments_say_which_rows_they_hold() -> None:
    assert schema.part_range(schema.part_name(3, 12)) == (3, 12)
    assert schema.segment_number(schema.segment_name("steps", 7), "steps") == 7
    assert schema.segment_number(schema.segment_name("steps", 7), "layers") is None


@pytest.mark.parametrize(
    "name",
    ["part-0.parquet", "part-00000001-00000002.parquet.tmp", "layers-1.arrows", "damaged-layers-00000001.arrows"],
)
def test_a_name_that_no_writer_gives_is_no_part_and_no_segment(name: str) -> None:
    assert schema.part_range(name) is None
    assert schema.segment_number(name, "layers") is None


def test_the_writer_names_parts_and_segments_as_the_schema_says(tmp_path) -> None:
    row = {"step": 0, "layer": "conv", "layer_index": 0, "layer_type": "Conv2d"}
    with Recorder(tmp_path, "a") as recorder:
        recorder.write("layers", pa.RecordBatch.from_pylist([row]))
        recorder.flush()
        recorder.write("layers", pa.RecordBatch.from_pylist([row]))
        assert (tmp_path / schema.LAYERS / schema.run_folder("a") / schema.part_name(1, 1)).is_file()
        assert (tmp_path / schema.WRITERS / "a" / schema.segment_name(schema.LAYERS, 2)).is_file()


def test_column_description_survives_parquet(tmp_path) -> None:
    column = schema.Column("weight_mean", "1", "sum(w) / n", tensor="effective weight", reference="Fig. 4")
    table = pa.table({"weight_mean": pa.array([0.5], pa.float32())}, schema=pa.schema([column.arrow_field()]))
    pq.write_table(table, tmp_path / "part.parquet")
    read = pq.read_schema(tmp_path / "part.parquet").field("weight_mean").metadata
    assert {k.decode(): v.decode() for k, v in read.items() if not k.startswith(b"PARQUET")} == {
        "unit": "1",
        "formula": "sum(w) / n",
        "tensor": "effective weight",
        "reference": "Fig. 4",
    }


@pytest.mark.parametrize("table", schema.TABLES)
def test_keys_stand_first_in_every_table(table: str) -> None:
    columns = (schema.Column("x", "1", "x"),)
    names = schema.arrow_schema(table, columns).names
    assert names == [column.name for column in schema.KEYS[table]] + ["x"]


@pytest.mark.parametrize("mantissa_bits", [0, 1, 2])
def test_bin_edges_enclose_the_floats_whose_bits_name_the_bin(mantissa_bits: int, rng: np.random.Generator) -> None:
    values = (rng.standard_normal(1000) * 10.0 ** rng.uniform(-30, 30, 1000)).astype(np.float32)
    bits = values.view(np.int32)
    magnitude = (bits & 0x7FFFFFFF) >> (23 - mantissa_bits)
    bins = np.where(bits < 0, -1 - magnitude, magnitude)
    for value, index in zip(values.tolist(), bins.tolist(), strict=True):
        low, high = schema.bin_edges(index, 1, mantissa_bits=mantissa_bits)
        assert low <= value <= high


@pytest.mark.parametrize("mantissa_bits", [0, 2])
def test_bins_tile_the_line_without_gap_or_overlap(mantissa_bits: int) -> None:
    bins = 20 * 2**mantissa_bits
    edges = schema.bin_edges(-bins, 2 * bins, mantissa_bits=mantissa_bits)
    assert np.all(np.diff(edges) > 0)
    np.testing.assert_array_equal(edges, -edges[::-1])
