"""From records to record batches: nulls, NaN, keys, types."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch import nn

from probes.measuring.result import Result
from probes.metrics import METRICS
from probes.metrics.histogram import as_columns, exponent_histograms
from probes.model.selection import select_layers
from probes.recording.record import Record
from probes.recording.step_rows import steps_batch
from probes.recording.tables.arrow_tables import Tables
from probes.schema import HISTOGRAM_COLUMNS, KEYS, arrow_schema, bin_edges

MODEL = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2))
LAYERS = select_layers(MODEL).layers


def batch(table, records, *names):
    return dict(Tables(LAYERS, [METRICS[name] for name in names]).batches(records))[table]


def result(name, indices, values):
    return Result(METRICS[name], 0, indices, torch.tensor(values, dtype=torch.float64))


def test_not_measured_is_null_and_a_measured_nan_is_nan():
    records = [Record(4, None, [result("bias_moments", [0, 1], [[1.0, np.nan], [2.0, 3.0]])])]
    records.append(Record(5, 2, [result("update", [1], [[0.5], [0.25], [0.1]])]))
    found = batch("layers", records, "bias_moments", "update")
    assert found.column("step").to_pylist() == [4, 4, 5]
    assert found.column("epoch").to_pylist() == [None, None, 2]
    assert found.column("layer").to_pylist() == ["0", "1", "1"]  # a row that says nothing is not written
    means = found.column("bias_mean")
    assert means.null_count == 1
    assert np.isnan(means[1].as_py())
    assert found.column("update_ratio").to_pylist() == [None, None, 0.5]


def test_columns_carry_unit_formula_and_tensor():
    found = batch("layers", [Record(0, None, [result("update", [0], [[0.5], [0.25], [0.1]])])], "update").schema
    described = found.field("update_angle").metadata
    assert described[b"unit"] == b"rad"
    assert described[b"formula"]
    assert described[b"tensor"]


def test_counts_are_whole_numbers_and_values_beyond_float32_infinite():
    values = [[1e300], [0.0], [0.0], [3.0]]
    found = batch("layers", [Record(0, None, [result("weight_moments", [0], values)])], "weight_moments")
    assert found.schema.field("weight_nonfinite").type == pa.int64()
    assert found.column("weight_nonfinite").to_pylist() == [3]
    assert found.column("weight_mean").to_pylist() == [np.inf]


def test_a_histogram_is_cut_to_its_filled_window_and_adds_up():
    x = torch.tensor([-3.3, -2.6, 0.0, 1e-3, 7.0, torch.nan, -torch.inf])
    histograms = exponent_histograms([x, torch.zeros(3)])
    records = [Record(0, None, [Result(METRICS["gradient_histogram"], 0, [0, 1], as_columns(histograms))])]
    found = batch("histograms", records, "gradient_histogram")
    assert found.schema.equals(arrow_schema("histograms", HISTOGRAM_COLUMNS))
    row, zeros = found.to_pylist()
    assert (row["n"], row["n_zero"], row["n_nonfinite"], sum(row["counts"])) == (7, 1, 2, 5)
    edges = bin_edges(row["first_bin"], len(row["counts"]), mantissa_bits=row["mantissa_bits"])
    expected = np.histogram([-3.3, -2.6, 0.0, 1e-3, 7.0], edges)[0]
    np.testing.assert_array_equal(row["counts"], expected)
    assert row["counts"][0]
    assert row["counts"][-1]
    assert (zeros["n"], zeros["n_zero"], zeros["counts"]) == (3, 3, [3])


def test_a_histogram_of_nothing_finite_has_no_counts():
    histograms = exponent_histograms([torch.full((4,), torch.nan)])
    records = [Record(0, None, [Result(METRICS["gradient_histogram"], 0, [0], as_columns(histograms))])]
    (row,) = batch("histograms", records, "gradient_histogram").to_pylist()
    assert (row["counts"], row["n"], row["n_nonfinite"]) == ([], 4, 4)


def test_spectra_keep_their_own_lengths():
    spectra = METRICS["spectrum"].compute([torch.tensor([2.0, 1.0, 0.0]), torch.tensor([np.nan])])
    found = batch("spectra", [Record(0, None, [Result(METRICS["spectrum"], 0, [0, 1], spectra)])], "spectrum")
    first, second = found.column("singular_values").to_pylist()
    assert first == [2.0, 1.0, 0.0]
    assert len(second) == 1
    assert np.isnan(second[0])
    assert found.column("view").to_pylist() == ["unfolded"] * 2


@pytest.mark.parametrize("table", ["layers", "histograms", "spectra"])
def test_nothing_recorded_is_no_batch(table):
    assert table not in dict(Tables(LAYERS, list(METRICS.values())).batches([Record(0)]))


def test_a_users_own_columns_of_steps_come_last():
    found = steps_batch(
        [{"step": 1, "split": "train", "loss": torch.tensor(0.5)}, {"step": 2, "split": "test", "f1": 1}]
    )
    assert found.schema.names[: len(KEYS["steps"])] == [column.name for column in KEYS["steps"]]
    assert found.schema.names[-1] == "f1"
    assert found.column("loss").to_pylist() == [0.5, None]
    assert found.column("f1").to_pylist() == [None, 1.0]
