"""The page of figures/coordinate_check: what its numbers say, and that none is typed."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
import torch

from tests.scripts import load_script

FOLDER = Path(__file__).parents[1] / "figures" / "coordinate_check"


@pytest.fixture(scope="module")
def draw() -> ModuleType:
    return load_script(FOLDER / "draw.py")


@pytest.fixture
def slopes() -> pd.DataFrame:
    return pd.read_csv(FOLDER / "slopes.csv", dtype={"layer": str})


def test_the_page_is_what_the_committed_slopes_say(draw: ModuleType, slopes: pd.DataFrame) -> None:
    expected = draw.rendered(draw.TEMPLATE.read_text(encoding="utf-8"), slopes)
    assert "${" not in expected
    assert draw.README.read_text(encoding="utf-8") == expected, "run `python figures/coordinate_check/draw.py`"


def test_no_slope_is_typed_into_the_template(draw: ModuleType) -> None:
    assert re.findall(r"\d+\.\d+", draw.TEMPLATE.read_text(encoding="utf-8")) == []


def test_mup_is_flat_and_the_standard_parametrization_is_not(draw: ModuleType, slopes: pd.DataFrame) -> None:
    trained = slopes[slopes["step"] > 0].set_index("parametrization")
    assert trained.loc[draw.MUP, draw.SLOPE].abs().max() < 0.05
    hidden = trained.loc[draw.STANDARD].query("layer == '2'")
    assert hidden[draw.SLOPE].between(0.4, 1).all()  # 1 is the slope of very wide networks


def test_a_readout_of_zero_has_no_slope_before_its_first_update(draw: ModuleType, slopes: pd.DataFrame) -> None:
    rows = slopes.set_index(["parametrization", "step", "layer"])[draw.SLOPE]
    assert np.isnan(rows[draw.MUP, 0, "4"])
    assert rows.notna().sum() == len(rows) - 1


def test_the_two_parametrizations_differ_in_readout_and_rates_alone(draw: ModuleType) -> None:
    torch.manual_seed(0)
    standard = draw.standard_model(128)
    torch.manual_seed(0)
    mup = draw.mup_model(128)
    for name, weight in standard.named_parameters():
        found = mup.get_parameter(name)
        assert torch.equal(found, torch.zeros_like(weight) if name.startswith("4.") else weight)
    rates = {id(p): group["lr"] for group in draw.mup_adam(mup, 128).param_groups for p in group["params"]}
    found = {name: rates[id(p)] for name, p in mup.named_parameters()}
    halved = {"2.weight", "4.weight"}
    assert found == {name: draw.RATE / 2 if name in halved else draw.RATE for name in found}
