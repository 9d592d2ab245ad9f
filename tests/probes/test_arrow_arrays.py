"""Arrays from buffers: equal to what ``pyarrow.array`` makes, and no pandas on the way."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pyarrow as pa
import pytest

from probes.arrow_arrays import list_array, number_array, one_row, word_array

TYPES = [pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.float16(), pa.float32(), pa.float64()]


@pytest.mark.parametrize("kind", TYPES, ids=str)
@pytest.mark.parametrize("length", [0, 1, 7, 8, 9, 1000])
def test_numbers_are_those_of_pyarrow(kind: pa.DataType, length: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    values, missing = rng.integers(-100, 100, length), rng.random(length) < 0.3
    wanted = values.astype(kind.to_pandas_dtype())
    assert number_array(values, kind).equals(pa.array(wanted))
    found = number_array(values, kind, missing=missing)
    found.validate(full=True)
    assert found.equals(pa.array(wanted, mask=missing))
    assert found.null_count == missing.sum()


def test_nan_is_a_value_and_a_strided_view_is_copied() -> None:
    values = np.array([[1.0, np.nan], [np.inf, 2.0], [-np.inf, 3.0]])
    assert number_array(values[:, 1], pa.float32()).null_count == 0
    assert number_array(values[:, 0], pa.float32()).to_pylist() == [1.0, np.inf, -np.inf]


@pytest.mark.parametrize("words", [[], [""], ["a", None, "ü", ""], [None, None], ["漢字", "b" * 1000]])
def test_words_are_those_of_pyarrow(words: list[str | None]) -> None:
    found = word_array(words)
    found.validate(full=True)
    assert found.equals(pa.array(words, pa.string()))
    assert found.dictionary_encode().equals(pa.array(words, pa.string()).dictionary_encode())


def test_a_word_that_is_a_number_is_refused() -> None:
    with pytest.raises(TypeError, match="expected strings or None, got 3 of type int"):
        word_array(["a", 3])  # type: ignore[list-item]


def test_lists_are_those_of_pyarrow() -> None:
    found = list_array(np.array([0, 2, 2, 3]), np.array([5, 6, 7]), pa.int32())
    found.validate(full=True)
    assert found.equals(pa.array([[5, 6], [], [7]], pa.list_(pa.int32())))


SCHEMA = pa.schema(
    [("word", pa.string()), ("count", pa.int64()), ("when", pa.timestamp("us", tz="UTC")), ("small", pa.int32())]
)


@pytest.mark.parametrize(
    "row",
    [
        {},
        {"word": "a", "count": -3, "when": datetime(2026, 2, 3, 4, 5, 6, 789, tzinfo=UTC)},
        {"when": datetime(2026, 2, 3, 4, 5, 6)},
        {"word": None, "count": np.int64(2**40), "when": datetime(1901, 1, 1, tzinfo=timezone(timedelta(hours=-7)))},
    ],
)
def test_a_row_is_that_of_pyarrow(row: dict[str, object]) -> None:
    assert one_row(row, SCHEMA).equals(pa.Table.from_pylist([row], schema=SCHEMA))


@pytest.mark.parametrize(
    "wrong",
    [{"word": 1}, {"count": "1"}, {"count": 1.5}, {"count": True}, {"count": 2**63}, {"small": 2**31}, {"when": 3}],
)
def test_a_value_of_another_type_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(TypeError, match=f"{next(iter(wrong))} is .*, expected"):
        one_row(wrong, SCHEMA)


RECORD = """
import sys, torch
from probes import Probe
nn = torch.nn
model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
with Probe(model, optimizer, store=sys.argv[1], run="a", every=1, config={"a": 1}) as probe:
    for step in range(3):
        optimizer.zero_grad()
        loss = model(torch.randn(4, 1, 4, 4)).square().mean()
        loss.backward()
        optimizer.step()
        probe.log(loss=loss, own=3)
        probe.flush()
loaded = [name for name in ("pandas", "matplotlib") if name in sys.modules]
sys.exit(f"recording loaded {loaded}" if loaded else 0)
"""


def test_recording_does_not_load_pandas(tmp_path) -> None:
    done = subprocess.run([sys.executable, "-c", RECORD, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in tmp_path.iterdir()} >= {"layers", "histograms", "spectra", "steps", "runs"}
