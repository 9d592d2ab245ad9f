from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analysis import channel_drift
from analysis.gallery.figure import figure, prepare
from analysis.reading.tables import channels


@pytest.mark.parametrize("measure", ["unlearned_drift", "seen_drift", "unlearned_mean", "dead_share"])
def test_the_lines_are_the_measure_of_each_layer(measure: str, small_store: Path) -> None:
    table = prepare("channels", small_store, measure=measure, runs="sn-s0").table
    expected = channel_drift(channels(small_store, runs="sn-s0"), since=50)
    expected = expected[expected["step"] >= 50].sort_values(["layer_index", "step"])
    found = table.sort_values(["layer_index", "step"])
    np.testing.assert_allclose(found["mean"], expected[measure])


def test_each_norm_has_a_panel_and_layers_are_named_by_their_depth(small_store: Path, read: Any) -> None:
    picture = figure("channels", small_store)
    assert list(read.panels(picture)) == ["BN", "SN", "MSN"]
    assert read.legend(picture) == ["layer 1", "layer 2", "layer 3"]


def test_a_measure_that_there_is_not_is_refused(small_store: Path) -> None:
    with pytest.raises(ValueError, match="measure 'drift'; expected one of seen_drift, unlearned_drift"):
        prepare("channels", small_store, measure="drift")


def test_a_short_run_is_drawn_from_its_first_record_and_a_lone_record_has_means(
    make_store: Callable[..., Path],
) -> None:
    short = prepare("channels", make_store(norms=["sn"], records=3, every=10))
    assert set(short.table["step"]) == {0, 10, 20}
    assert (short.table.query("step > 0")["mean"] > 0).all()
    assert "have not settled" in " ".join(text.get_text() for text in short.draw().texts)
    lone = prepare("channels", make_store("lone", norms=["sn"], records=1))
    expected = channel_drift(channels(lone.store))["unlearned_mean"]
    np.testing.assert_allclose(lone.table.sort_values("layer_index")["mean"], expected)
    assert "One record has no drift yet" in " ".join(text.get_text() for text in lone.draw().texts)


def test_layers_without_running_statistics_have_no_gap_and_no_mark_of_nan(
    make_store: Callable[..., Path], read: Any
) -> None:
    store = make_store(norms=["bn", "sn"], records=4)
    part = store / "channels" / "run=sn-s0" / "part-0.parquet"
    rows = pq.read_table(part)
    place = rows.schema.get_field_index("running_mean")
    pq.write_table(rows.set_column(place, rows.schema.field(place), pa.nulls(len(rows), pa.float32())), part)
    picture = figure("channels", store, measure="running_gap")
    assert list(read.panels(picture)) == ["BN"]
    assert not any("NaN" in text for axes in read.panels(picture).values() for text in read.texts(axes))
    with pytest.raises(ValueError, match="no layer of these runs keeps a running mean"):
        figure("channels", store, measure="running_gap", runs="sn-s0")
