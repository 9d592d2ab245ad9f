"""Whatever is written comes back exactly, under any order of flushes, closes and resumes, and nowhere but the store."""

import math
import struct
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.schema import check_run_id
from probes.storage.files import open_store
from probes.storage.recorder import Recorder
from probes.storage.verify import verify

WORDS = [
    "../x",
    "a/b",
    "50%",
    "%2e%2e",
    "layer with spaces",
    "x" * 300,
    "",
    "é",
    "层.卷积",
    "\n",
    "'; DROP TABLE",
    "__HIVE__",
]
NAMES = st.one_of(st.sampled_from(WORDS), st.text(st.characters(exclude_categories=["Cs"]), max_size=20))
COLUMNS = st.sampled_from(["weight_mean", "weight_var", "spectral_norm", "grad_sparsity", "my own", "ünïcode/%"])
FLOAT_BITS = st.one_of(
    st.floats(width=32).map(lambda value: struct.pack("<f", value)),
    st.sampled_from(
        [b"\x01\x00\xa0\x7f", b"\xef\xbe\xad\xff", b"\x01\x00\x00\x00", b"\x00\x00\x00\x80"]
    ),  # NaN payloads
)
BATCH = st.tuples(
    st.lists(NAMES, min_size=1, max_size=4, unique=True), st.dictionaries(COLUMNS, FLOAT_BITS, max_size=4)
)
ACTION = st.one_of(BATCH, BATCH, BATCH, st.sampled_from(["flush", "close", "die"]))


def rows_of(step: int, layers: list[str], columns: dict[str, bytes]) -> pa.RecordBatch:
    count = len(layers)
    arrays = {
        "step": pa.array([step] * count),
        "layer": pa.array(layers, pa.string()).dictionary_encode(),
        **{name: floats(bits, count) for name, bits in columns.items()},
    }
    return pa.RecordBatch.from_pydict(arrays)


def floats(bits: bytes, count: int) -> pa.Array:
    return pa.Array.from_buffers(pa.float32(), count, [None, pa.py_buffer(bits * count)])


def stored_rows(store: Path, run: str) -> list[tuple]:
    """All rows of a run as (step, layer, {column: bits}), in order; nulls are left out."""
    found = []
    for path in sorted(store.glob(f"layers/run={run}/*.parquet")):
        table = pq.ParquetFile(path).read()
        measured = [name for name in table.column_names if name not in {"step", "layer"}]
        for row in range(table.num_rows):
            values = {name: table[name].slice(row, 1) for name in measured}
            bits = {name: bits_of(value) for name, value in values.items() if value.null_count == 0}
            found.append((table["step"][row].as_py(), table["layer"][row].as_py(), bits))
    return found


def bits_of(value: pa.ChunkedArray) -> bytes:
    return value.combine_chunks().to_numpy().tobytes()


@given(actions=st.lists(ACTION, max_size=15))
def test_rows_come_back_bit_for_bit_whatever_happened_in_between(actions):
    expected = []
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "store"
        recorder = Recorder(store, "fuzz")
        for step, action in enumerate(actions):
            if action == "flush":
                recorder.flush()
            elif action in ("close", "die"):
                recorder.close() if action == "close" else recorder._owner.forget()
                recorder = Recorder(store, "fuzz", resume_step=step)
            else:
                recorder.write("layers", rows_of(step, *action))
                expected += [(step, layer, action[1]) for layer in action[0]]
        recorder.close()
        assert stored_rows(store, "fuzz") == expected
        assert verify(open_store(store)).faults == []
        assert [path.name for path in Path(folder).iterdir()] == ["store"]


@given(run=st.one_of(NAMES, st.from_regex(r"[A-Za-z0-9._%/-]{1,12}", fullmatch=True)))
def test_a_run_id_is_either_refused_or_one_plain_folder_in_the_store(run):
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "store"
        try:
            check_run_id(run)
        except ValueError:
            with pytest.raises(ValueError, match="run id"):
                Recorder(store, run)
            assert not store.exists()
            return
        with Recorder(store, run) as recorder:
            recorder.write("steps", pa.RecordBatch.from_pylist([{"step": 0, "split": "train", "loss": math.pi}]))
        assert [path.name for path in Path(folder).iterdir()] == ["store"]
        assert [path.name for path in (store / "steps").iterdir()] == [f"run={run}"]
        read = pq.read_table(store / "steps")
        assert read["run"].to_pylist() == [run]


LISTS = st.lists(st.integers(0, 2**31 - 1), max_size=5)


@given(counts=st.lists(st.none() | LISTS, min_size=1, max_size=6), flush=st.booleans())
def test_histograms_come_back_with_their_nulls_and_empty_lists(counts, flush):
    with tempfile.TemporaryDirectory() as folder:
        with Recorder(folder, "fuzz") as recorder:
            for step, one in enumerate(counts):
                row = {"step": step, "layer": "conv", "tensor": "weight", "counts": one, "n": step, "first_bin": -3}
                recorder.write("histograms", pa.RecordBatch.from_pylist([row], HISTOGRAM))
                if flush:
                    recorder.flush()
        [path] = Path(folder).glob("histograms/run=fuzz/*.parquet")
        assert pq.ParquetFile(path).read()["counts"].to_pylist() == counts


HISTOGRAM = pa.schema(
    [
        ("step", pa.int64()),
        ("layer", pa.string()),
        ("tensor", pa.string()),
        ("counts", pa.list_(pa.int32())),
        ("n", pa.int64()),
        ("first_bin", pa.int16()),
    ]
)
