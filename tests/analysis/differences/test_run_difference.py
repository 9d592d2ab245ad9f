"""Where two runs part: to the bit, with step and layer, whatever else is as before."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

import analysis
from analysis.commands import app
from analysis.differences.cells import differing
from probes import schema

RECORDED = Path(__file__).parents[1] / "recorded" / "runs"
LAYERS, STEPS, COLUMNS = 20, 500, 40  # 10,000 rows


def write_layers(store: Path, run: str, values: np.ndarray, *, every: int = 1) -> None:
    """Write ``(COLUMNS, STEPS * LAYERS)`` numbers as the layers of a run."""
    folder = store / "layers" / f"run={run}"
    folder.mkdir(parents=True)
    steps, count = values.shape[1] // LAYERS, LAYERS
    names = pa.array([f"block{index}.conv" for index in range(count)] * steps).dictionary_encode()
    table = pa.table(
        {
            "step": np.repeat(np.arange(steps) * every, count),
            "layer": names,
            "layer_index": pa.array(np.tile(np.arange(count), steps), pa.int16()),
            "layer_type": pa.array(["Conv2d"] * (steps * count)).dictionary_encode(),
            **{f"column{index}": row for index, row in enumerate(values)},
        }
    )
    pq.write_table(table, folder / schema.part_name(1, 1))


@pytest.fixture
def values(rng: np.random.Generator) -> np.ndarray:
    return rng.standard_normal((COLUMNS, STEPS * LAYERS)).astype(np.float32)


def test_one_ulp_in_one_layer_at_one_step_is_found_within_a_second(values, tmp_path):
    write_layers(tmp_path, "a", values)
    changed = values.copy()
    changed[7, 321 * LAYERS + 13] = np.nextafter(changed[7, 321 * LAYERS + 13], np.float32(np.inf))
    write_layers(tmp_path, "b", changed)
    analysis.diff("a", "a", store=tmp_path)  # imports and Arrow's threads
    began = time.perf_counter()
    [found] = analysis.diff("a", "b", store=tmp_path).to_dict("records")
    assert time.perf_counter() - began < 1
    assert (found["step"], found["name"], found["column"]) == (321, "block13.conv", "column7")
    assert (found["rows"], found["of"]) == (1, 10_000)
    assert 0 < found["change"] < 2**-22


def test_columns_come_with_the_earliest_step_first_and_count_their_rows(values, tmp_path):
    write_layers(tmp_path, "a", values)
    changed = values.copy()
    changed[3, 200 * LAYERS + 4 :] += 1
    changed[2, 100 * LAYERS + 5] = np.nan
    write_layers(tmp_path, "b", changed)
    found = analysis.diff("a", "b", store=tmp_path)
    assert found[["step", "name", "column"]].to_numpy().tolist() == [
        [100, "block5.conv", "column2"],
        [200, "block4.conv", "column3"],
    ]
    assert found["rows"].tolist() == [1, 300 * LAYERS - 4]
    assert np.isnan(found["second"][0])


def test_a_run_that_was_recorded_at_other_steps_has_rows_of_its_own(values, tmp_path):
    write_layers(tmp_path, "a", values[:, : 4 * LAYERS])
    write_layers(tmp_path, "b", values[:, : 2 * LAYERS], every=2)
    found = analysis.diff("a", "b", store=tmp_path)
    rows = found[found["column"] == "(row)"]
    assert rows[["step", "first", "second", "rows"]].to_numpy().tolist() == [[1, True, False, 2 * LAYERS]]
    assert set(found.loc[found["column"] != "(row)", "step"]) == {2}  # where "b" has what "a" had at step 1


def test_a_tolerance_passes_over_rounding(values, tmp_path):
    write_layers(tmp_path, "a", values)
    write_layers(tmp_path, "b", values * np.float32(1 + 1e-6))
    assert len(analysis.diff("a", "b", store=tmp_path)) == COLUMNS
    assert analysis.diff("a", "b", store=tmp_path, rtol=1e-5).empty


def test_runs_in_two_stores_are_compared(values, tmp_path):
    write_layers(tmp_path / "here", "a", values)
    write_layers(tmp_path / "there", "a", values)
    assert analysis.diff("a", "a", store=tmp_path / "here", second_store=tmp_path / "there").empty


def test_real_runs_of_two_norms_part_at_the_first_step_in_every_kind_of_table():
    found = analysis.diff("sn-s0", "msn-s0", store=RECORDED)
    assert {"layers", "steps", "histograms", "spectra"} <= set(found["table"])
    assert found["step"].is_monotonic_increasing
    assert "seconds" not in set(found["column"])
    assert analysis.diff("sn-s0", "sn-s0", store=RECORDED).empty


def test_a_column_that_one_run_lacks_differs_where_the_other_measured_it(tmp_path, values):
    write_layers(tmp_path, "a", values[:2])
    write_layers(tmp_path, "b", values[:1])
    [found] = analysis.diff("a", "b", store=tmp_path).to_dict("records")
    assert (found["column"], found["step"], found["second"]) == ("column1", 0, None)
    assert found["rows"] == found["of"] == 10_000


def test_the_command_prints_where_they_part_and_exits_with_1(values, tmp_path):
    write_layers(tmp_path, "a", values[:, : 4 * LAYERS])
    changed = values[:, : 4 * LAYERS].copy()
    changed[0, 2 * LAYERS + 1] += 1
    write_layers(tmp_path, "b", changed)
    parted = CliRunner().invoke(app, ["diff", "a", "b", "--store", str(tmp_path)])
    assert parted.exit_code == 1
    assert parted.output.splitlines()[-1] == "first difference: step 2, column0 of block1.conv"
    shutil.copytree(tmp_path / "layers/run=a", tmp_path / "layers/run=c")
    alike = CliRunner().invoke(app, ["diff", "a", "c", "--store", str(tmp_path)])
    assert (alike.exit_code, alike.output) == (0, "a and c agree in every row\n")


def test_an_unknown_run_or_table_is_refused(values, tmp_path):
    write_layers(tmp_path, "a", values)
    with pytest.raises(ValueError, match="no run matches 'b'"):
        analysis.diff("a", "b", store=tmp_path)
    with pytest.raises(ValueError, match="expected some of layers"):
        analysis.diff("a", "a", store=tmp_path, tables=["layer"])


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ([1.0, None, float("nan")], [1.0, None, float("nan")], [False, False, False]),
        ([None, 1.0, 0.0], [float("nan"), None, -0.0], [True, True, False]),
        ([float("inf"), float("inf")], [float("inf"), float("-inf")], [False, True]),
        ([[1, 2], [1], None], [[1, 2], [1, 0], None], [False, True, False]),
        ([[1, 2], [], [3]], [[1, 3], [], [3]], [True, False, False]),
        (["a", "b", None], ["a", "c", None], [False, True, False]),
    ],
)
def test_cells_differ_by_value(first, second, expected):
    assert differing(pa.array(first), pa.array(second)).tolist() == expected
