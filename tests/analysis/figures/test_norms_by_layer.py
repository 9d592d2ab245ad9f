from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from analysis.gallery.figure import figure, prepare


def test_both_norms_are_those_of_the_last_step_at_which_both_were_measured(
    small_store: Path, plain: Callable[..., pd.DataFrame]
) -> None:
    table = prepare("norms_by_layer", small_store).table
    for row in table.to_dict("records"):
        rows = plain(small_store, run=f"{row['norm']}-s0", layer=row["layer"])
        last = rows[rows["step"] == 1750].iloc[0]  # the operator norm is measured at every fifth of 40 records
        if row["layer"] == "classifier":
            last["operator_norm"] = last["spectral_norm"]  # a matrix
        assert row["step"] == 1750
        np.testing.assert_allclose(
            [row["spectral_norm"], row["operator_norm"]], last[["spectral_norm", "operator_norm"]].astype(float)
        )


def test_records_of_different_steps_never_stand_in_one_picture(make_store: Callable[..., Path]) -> None:
    store = make_store(norms=["bn", "sn"], records=8, stop_after={"sn-s0": 3})  # BN's last is at step 250, SN's at 0
    with pytest.raises(ValueError, match=r"no step after the first in common .*bn-s0 at 0 to 250, sn-s0 at 0 to 0"):
        prepare("norms_by_layer", store)
    store = make_store("longer", norms=["bn", "sn"], records=11, stop_after={"sn-s0": 6})
    assert set(prepare("norms_by_layer", store).table["step"]) == {250}


def test_a_nan_run_is_named_and_the_others_are_drawn(seeds_store: Path, read: Any) -> None:
    prepared = prepare("norms_by_layer", seeds_store, runs="s*")  # BN has a run that ends before the NaN
    sn = prepared.table
    assert set(sn["nan_runs"]) == {1}
    assert sn["operator_norm"].notna().all()
    panels = read.panels(prepared.draw())
    assert read.texts(panels["SN"]) == ["NaN in 1 of 10 runs"]


def test_few_layers_are_all_named_and_many_five_of_them(small_store: Path, deep_store: Path, read: Any) -> None:
    for store, count in ((small_store, 4), (deep_store, 5)):
        picture = figure("norms_by_layer", store)
        FigureCanvasAgg(picture)
        picture.draw_without_rendering()
        names = [text.get_text() for text in read.panels(picture)["SN"].get_xticklabels()]
        assert len(names) == count
        assert names[-1] == "classifier"
