from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from analysis.gallery.figure import figure, prepare


def test_sparsity_is_the_recorded_column(small_store: Path, plain: Callable[..., pd.DataFrame]) -> None:
    table = prepare("gradient_sparsity", small_store).table
    for (norm, layer), rows in table.groupby(["norm", "layer"], observed=True):
        np.testing.assert_allclose(rows["mean"], plain(small_store, run=f"{norm}-s0", layer=layer)["grad_sparsity"])


def test_normalisation_layers_are_left_out_unless_asked_for(small_store: Path) -> None:
    assert not prepare("gradient_sparsity", small_store).table["layer"].str.contains("norm").any()
    assert set(prepare("gradient_sparsity", small_store, layers="*.norm").table["norm"]) == {"bn", "msn"}


def test_smoothing_stands_in_the_note(small_store: Path) -> None:
    picture = figure("gradient_sparsity", small_store, smooth=5)
    assert "trailing mean of 5 records" in " ".join(text.get_text() for text in picture.texts)


def test_the_paper_shows_two_convolutions(deep_store: Path, read: Any) -> None:
    panels = read.panels(figure("gradient_sparsity", deep_store, paper=True))
    assert list(panels) == ["block2.5.conv1", "block2.11.conv1"]


def test_a_small_network_shows_all_its_convolutions_as_the_paper_shows_some(small_store: Path, read: Any) -> None:
    panels = read.panels(figure("gradient_sparsity", small_store, paper=True))
    assert list(panels) == ["block1.conv", "block2.conv", "block3.conv"]


def test_where_nothing_is_exactly_zero_the_nearly_zero_are_drawn(make_store: Any, plain: Any) -> None:
    store = make_store(norms=["sn"], records=4)
    path = store / "layers" / "run=sn-s0" / "part-0.parquet"
    rows = pq.read_table(path)
    place = rows.schema.get_field_index("grad_sparsity")
    zeros = pa.array(np.zeros(rows.num_rows, np.float32))
    pq.write_table(rows.set_column(place, rows.schema.field(place), zeros), path)
    prepared = prepare("gradient_sparsity", store)
    for layer, mine in prepared.table.groupby("layer", observed=True):
        np.testing.assert_allclose(mine["mean"], plain(store, layer=layer)["grad_near_sparsity"])
    assert "No entry is exactly zero" in " ".join(text.get_text() for text in prepared.draw().texts)


def test_layers_asked_for_override_the_papers(small_store: Path, read: Any) -> None:
    assert list(read.panels(figure("gradient_sparsity", small_store, paper=True, layers="classifier"))) == [
        "classifier"
    ]
