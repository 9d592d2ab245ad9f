from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.gallery.figure import figure, prepare


def test_sparsity_is_the_recorded_column(small_store: Path, plain: Callable[..., pd.DataFrame]) -> None:
    table = prepare("gradient_sparsity", small_store).table
    for (norm, layer), rows in table.groupby(["norm", "layer"]):
        np.testing.assert_allclose(rows["mean"], plain(small_store, run=f"{norm}-s0", layer=layer)["grad_sparsity"])


def test_normalisation_layers_are_left_out_unless_asked_for(small_store: Path) -> None:
    assert not prepare("gradient_sparsity", small_store).table["layer"].str.contains("norm").any()
    assert set(prepare("gradient_sparsity", small_store, layers="*.norm").table["norm"]) == {"bn", "msn"}


def test_smoothing_stands_in_the_note(small_store: Path) -> None:
    picture = figure("gradient_sparsity", small_store, smooth=5)
    assert any(text.get_text().endswith("trailing mean of 5 records") for text in picture.texts)


def test_the_paper_shows_two_convolutions(deep_store: Path, read: Any) -> None:
    panels = read.panels(figure("gradient_sparsity", deep_store, paper=True))
    assert list(panels) == ["block2.5.conv1", "block2.11.conv1"]


def test_a_network_without_the_papers_layers_says_so(small_store: Path) -> None:
    with pytest.raises(ValueError, match=r"shows convolutions 44, 56 of DenseNet-BC, counted from 0; .* has 3: choose"):
        figure("gradient_sparsity", small_store, paper=True)


def test_layers_asked_for_override_the_papers(small_store: Path, read: Any) -> None:
    assert list(read.panels(figure("gradient_sparsity", small_store, paper=True, layers="classifier"))) == [
        "classifier"
    ]
