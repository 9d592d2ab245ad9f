from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from pages import lines_in

from analysis.report.columns import DEFAULTS
from analysis.report.data import report_data


def test_a_page_has_the_loss_then_the_eight_default_columns_then_the_others_of_the_loop(small_store: Path) -> None:
    columns = [column["name"] for column in report_data(small_store)["columns"] if column["byDefault"]]
    assert len(DEFAULTS) == 8
    assert columns == ["loss", *(column.name for column in DEFAULTS), "accuracy", "lr"]


def test_default_columns_that_are_not_there_are_named(make_store: Callable[..., Path]) -> None:
    store = make_store(norms=["bn"], records=2, without_columns=["update_ratio"], without_tables=["steps"])
    data = report_data(store)
    assert data["absent"] == ["update_ratio", "loss", "accuracy", "lr", "grad_norm"]


def test_the_column_of_a_finding_is_there(make_store: Callable[..., Path]) -> None:
    data = report_data(make_store(norms=["sn"], records=8, nan_from={"sn-s0": 4}))
    assert data["findings"][0]["column"] in {column["name"] for column in data["columns"]}


def test_the_pandas_line_gives_the_lines(small_store: Path, monkeypatch: object) -> None:
    monkeypatch.chdir(small_store.parent)
    data = report_data(small_store)
    for column in data["columns"]:
        wide = eval(column["pandas"].removesuffix(".plot()"), {"pd": pd})  # our own page's line is under test
        (run, layer), (_, values) = next(iter(lines_in(data, column["key"]).items()))
        drawn = values - values[0] if column["fromStart"] else values
        np.testing.assert_allclose(wide[layer, run].dropna(), drawn, rtol=1e-5, atol=1e-6)
