from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.gallery.figure import prepare
from analysis.gallery.provenance import config_hash, provenance, table_hash, table_text


def test_provenance_says_what_a_picture_was_made_from(small_store: Path) -> None:
    facts = provenance(prepare("mean_drift", small_store, layers="*.conv", smooth=3), small_store)
    assert (facts["figure"], facts["paper"], facts["store"]) == ("mean_drift", "Fig. 4", "runs")
    assert facts["steps"] == {"first": 0, "last": 1950, "count": 40}
    assert facts["layers"] == ["block1.conv", "block2.conv", "block3.conv"]
    assert facts["options"] == {"layers": "*.conv", "smooth": 3, "from_start": True}
    assert facts["columns"] == {"weight_mean": {"unit": "1", "formula": "sum(x) / n", "reference": ""}}
    assert set(facts["versions"]) == {"python", "meandrift", "matplotlib", "numpy", "pandas", "pyarrow"}


def test_the_same_store_elsewhere_has_the_same_provenance(make_store: Callable[..., Path]) -> None:
    stores = [make_store(f"{place}/runs", records=4) for place in ("here", "there")]
    assert len({json.dumps(provenance(prepare("overview", store), store)) for store in stores}) == 1


def test_another_number_gives_another_hash() -> None:
    table = pd.DataFrame({"x": [1.0, 2.0]})
    assert table_hash(table) == table_hash(table.copy())
    assert table_hash(table) != table_hash(table.assign(x=[1.0, 2.0 + 1e-7]))


def test_nine_digits_count_and_nan_is_written_out() -> None:
    table = pd.DataFrame({"x": [1 / 3, np.nan, np.inf], "name": ["a", "b", "c"]})
    assert table_text(table) == "x,name\n0.333333333,a\nnan,b\ninf,c\n"
    assert table_text(table.assign(x=table["x"] * (1 + 1e-13))) == table_text(table)


def test_the_configurations_hash_knows_settings_and_neither_time_nor_order() -> None:
    runs = pd.DataFrame({"run": ["a", "b"], "norm": ["bn", "sn"], "updated": [1, 2], "status": ["finished"] * 2})
    assert config_hash(runs) == config_hash(runs.iloc[::-1].assign(updated=9, status="running"))
    assert config_hash(runs) != config_hash(runs.assign(norm="msn"))
