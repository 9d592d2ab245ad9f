from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PolyCollection

from analysis.gallery.figure import figure, prepare

NO_BOUND = ["lipschitz_bound", "unfolded_product"]


def test_the_three_lines_are_the_recorded_columns(small_store: Path, plain: Callable[..., pd.DataFrame]) -> None:
    table = prepare("lipschitz", small_store).table
    rows = pd.read_parquet(small_store / "steps" / "run=sn-s0").query("split == 'test'").sort_values("step")
    for column in ("lipschitz_bound", "unfolded_product", "jacobian_norm"):
        mine = table[(table["norm"] == "sn") & (table["quantity"] == column)]
        np.testing.assert_allclose(mine["mean"], rows[column])


def test_each_norm_has_a_panel_with_the_bracket_shaded(small_store: Path, read: Any) -> None:
    picture = figure("lipschitz", small_store)
    panels = read.panels(picture)
    assert list(panels) == ["BN", "SN", "MSN"]
    for axes in panels.values():
        assert len(read.lines(axes)) == 3
        (shade,) = (c for c in axes.collections if isinstance(c, PolyCollection))
        table = prepare("lipschitz", small_store).table
        assert shade.get_paths()[0].vertices[:, 1].max() <= table["mean"].max()
        assert axes.get_yscale() == "log"
    assert "At the end: BN 1.2×10² to 2.4×10³" in " ".join(text.get_text() for text in picture.texts)


def test_a_network_without_a_known_bound_has_its_lower_one_alone(make_store: Callable[..., Path], read: Any) -> None:
    picture = figure("lipschitz", make_store(norms=["none"], records=10, without_columns=NO_BOUND))
    (axes,) = read.panels(picture).values()
    assert len(read.lines(axes)) == 1
    assert "no known upper bound" in " ".join(text.get_text() for text in picture.texts)


def test_a_store_of_before_the_bracket_is_refused(make_store: Callable[..., Path]) -> None:
    store = make_store(norms=["sn"], records=3, without_columns=[*NO_BOUND, "jacobian_norm"])
    with pytest.raises(ValueError, match="figure 'lipschitz' needs jacobian_norm in table 'steps'"):
        figure("lipschitz", store)
