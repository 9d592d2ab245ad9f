from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analysis.gallery.figure import figure, prepare


def test_the_three_panels_are_the_recorded_columns_and_the_test_error(small_store: Path, read: Any) -> None:
    prepared = prepare("complexity", small_store)
    rows = pd.read_parquet(small_store / "steps" / "run=sn-s0").query("split == 'test'").sort_values("step")
    expected = {
        "spectral_complexity": rows["spectral_complexity"],
        "margin_bound": rows["margin_bound"],
        "test_error": 1 - rows["accuracy"],
    }
    table = prepared.table[prepared.table["norm"] == "sn"]
    for quantity, values in expected.items():
        np.testing.assert_allclose(table[table["quantity"] == quantity]["mean"], values)
    panels = read.panels(prepared.draw())
    assert list(panels) == ["spectral complexity R", "bound of Theorem 1", "measured test error"]
    assert all(axes.get_yscale() == "log" and len(read.lines(axes)) == 3 for axes in panels.values())


def test_the_message_orders_the_norms_and_says_that_the_bound_is_vacuous(small_store: Path) -> None:
    prepared = prepare("complexity", small_store)
    last = prepared.table[prepared.table["step"] == prepared.table["step"].max()]
    error = last[last["quantity"] == "test_error"].sort_values("mean")["arm"]
    words = " ".join(text.get_text() for text in prepared.draw().texts)
    assert f"test error: {' < '.join(error)}." in words
    assert "The bound is above 1 throughout" in words  # in the store it is 2 and more


def test_a_network_that_is_no_chain_is_refused_with_the_reason_that_its_run_has(
    make_store: Callable[..., Path],
) -> None:
    store = make_store(norms=["bn"], records=10)
    part = store / "steps" / "run=bn-s0" / "part-0.parquet"
    rows = pq.read_table(part)
    for name in ("spectral_complexity", "margin_bound"):
        place = rows.schema.get_field_index(name)
        rows = rows.set_column(place, rows.schema.field(place), pa.nulls(len(rows), pa.float64()))
    pq.write_table(rows, part)
    reason = "spectral_complexity: DenseNet is not a chain of layers"
    part = store / "runs" / "run=bn-s0" / "part-0.parquet"
    run = pq.read_table(part)
    config = json.loads(run["config"][0].as_py()) | {"not_measured": f"{reason}; lipschitz_bound: none"}
    place = run.schema.get_field_index("config")
    pq.write_table(run.set_column(place, run.schema.field(place), pa.array([json.dumps(config)])), part)
    with pytest.raises(ValueError, match=rf"has spectral_complexity measured \({reason}\)$"):
        figure("complexity", store)
