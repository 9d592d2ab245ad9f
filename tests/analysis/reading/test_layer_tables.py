from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from analysis.reading.layer_tables import join, top_layers


def layers() -> pd.DataFrame:
    rows = [("r", 0, "a", 0, 5.0), ("r", 1, "a", 0, 1.0), ("r", 0, "b", 1, 2.0), ("r", 1, "b", 1, 3.0)]
    rows += [("s", 0, "a", 0, 7.0), ("s", 1, "a", 0, np.nan)]
    return pd.DataFrame(rows, columns=["run", "step", "layer", "layer_index", "norm"])


def test_the_layers_with_the_largest_last_values_come_first_in_each_run() -> None:
    top = top_layers(layers(), "norm")
    assert top.to_numpy().tolist() == [["r", "b", 1, 1, 3.0], ["r", "a", 0, 1, 1.0], ["s", "a", 0, 0, 7.0]]
    assert top_layers(layers(), "norm", most=1, smallest=True)["layer"].tolist() == ["a", "a"]
    with pytest.raises(ValueError, match="no column 'nrom'; there are: run, step"):
        top_layers(layers(), "nrom")


def test_each_row_of_layers_gets_what_was_logged_at_its_step() -> None:
    steps = pd.DataFrame(
        {
            "run": ["r", "r", "r"],
            "step": [0, 0, 1],
            "epoch": [0, 0, 0],
            "split": ["train", "test", "train"],
            "loss": [2.0, 9.0, 1.0],
            "norm": [0.0, 0.0, 0.0],
        }
    )
    both = join(layers(), steps)
    assert both["loss"].fillna(-1).tolist() == [2.0, 1.0, 2.0, 1.0, -1, -1]
    assert both["norm"].equals(layers()["norm"])
    assert "norm_logged" in both
    assert join(layers(), steps, split="test")["loss"].fillna(-1).tolist() == [9.0, -1, 9.0, -1, -1, -1]
    with pytest.raises(ValueError, match="table steps has step 0 twice in split 'train'"):
        join(layers(), steps.assign(split="train"))
