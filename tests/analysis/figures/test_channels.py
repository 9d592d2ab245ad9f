from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
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


def test_a_measure_that_there_is_not_is_refused_and_a_short_run_shows_its_last_record(
    small_store: Path, make_store: Callable[..., Path]
) -> None:
    with pytest.raises(ValueError, match="measure 'drift'; expected one of seen_drift, unlearned_drift"):
        prepare("channels", small_store, measure="drift")
    table = prepare("channels", make_store(norms=["sn"], records=3, every=10)).table
    assert set(table["step"]) == {20}
    assert (table["mean"] == 0).all()
