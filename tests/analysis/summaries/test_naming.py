"""Layers under names of one's own, and groups of layers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import analysis
from analysis.commands import app
from analysis.gallery.figure import prepare
from analysis.summaries.naming.layer_groups import in_groups
from analysis.summaries.naming.layer_names import check_names, renamed

RECORDED = Path(__file__).parents[1] / "recorded" / "runs"
BLOCKS = {"early": "features.block1.*,features.block2.*", "late": ["features.block3.*", "classifier"]}


def rows(**columns: list[float]) -> pd.DataFrame:
    """Return two records of three layers."""
    keys = {"run": ["a"] * 6, "step": [0] * 3 + [5] * 3, "layer": ["enc.0", "enc.1", "head"] * 2}
    more = {"layer_index": [0, 1, 2] * 2, "layer_type": ["Linear"] * 6}
    return pd.DataFrame({**keys, **more, **columns})


def test_a_group_has_the_length_of_all_its_layers_together():
    found = in_groups(rows(grad_l2_norm=[3.0, 4.0, 1.0, 6.0, 8.0, 2.0]), {"encoder": "enc.*", "head": "head"})
    assert found[["step", "layer", "layers", "grad_l2_norm"]].to_numpy().tolist() == [
        [0, "encoder", 2, 5.0],
        [0, "head", 1, 1.0],
        [5, "encoder", 2, 10.0],
        [5, "head", 1, 2.0],
    ]


@pytest.mark.parametrize(
    ("column", "expected"),
    [("spectral_norm", 4.0), ("operator_norm", 4.0), ("weight_nonfinite", 7.0), ("weight_mean", 3.5)],
)
def test_largest_count_and_mean(column, expected):
    found = in_groups(rows(**{column: [3.0, 4.0, 9.0] * 2}), {"encoder": "enc.*"})
    assert found[column].tolist() == [expected] * 2


@pytest.mark.parametrize("column", ["grad_l2_norm", "spectral_norm", "weight_nonfinite", "weight_mean"])
def test_nan_in_one_layer_is_nan_in_the_group_and_null_is_left_out(column):
    table = rows(**{column: [np.nan, 4.0, 9.0, np.nan, 4.0, 9.0]})
    measured = np.array([True, True, True, False, True, True])
    found = in_groups(table, {"encoder": "enc.*"}, valid={column: measured})
    np.testing.assert_array_equal(found[column], [np.nan, 4.0])


def test_a_number_that_no_layer_of_the_group_has_is_null():
    table = rows(operator_norm=[1.0, 1.0, np.nan] * 2)
    found = in_groups(table, {"head": "head"}, valid={"operator_norm": table["operator_norm"].notna().to_numpy()})
    assert found["operator_norm"].isna().all()


def test_groups_of_a_store_follow_from_its_layers():
    found = analysis.groups(RECORDED, BLOCKS, columns=["grad_l2_norm", "operator_norm"], runs="sn-s0")
    layers = analysis.layers(RECORDED, columns=["grad_l2_norm", "operator_norm"], runs="sn-s0")
    late = layers[layers["layer"].isin(["features.block3.conv", "classifier"])].groupby("step")
    lengths = np.sqrt(late["grad_l2_norm"].apply(lambda each: (each.astype("float64") ** 2).sum()))
    np.testing.assert_allclose(found.loc[found["group"] == "late", "grad_l2_norm"], lengths)
    largest = late["operator_norm"].max()
    np.testing.assert_array_equal(found.loc[found["group"] == "late", "operator_norm"], largest)
    assert list(found.columns[:5]) == ["run", "step", "epoch", "group", "layers"]


def test_a_pattern_that_matches_no_layer_and_no_groups_at_all_are_refused():
    with pytest.raises(ValueError, match=r"no layer matches 'decoder\.\*'"):
        analysis.groups(RECORDED, {"decoder": "decoder.*"})
    with pytest.raises(ValueError, match="groups: expected at least one"):
        analysis.groups(RECORDED, {})


def test_a_figure_shows_layers_under_their_new_names():
    shown = prepare("gradient_norm", RECORDED, names={"classifier": "read-out"}).table
    before = prepare("gradient_norm", RECORDED).table
    assert set(map(str, shown["layer"])) == {"read-out", *map(str, before["layer"])} - {"classifier"}
    pd.testing.assert_frame_equal(shown.drop(columns="layer"), before.drop(columns="layer"))


def test_a_figure_shows_groups_in_the_place_of_layers():
    ready = prepare("gradient_norm", RECORDED, groups=BLOCKS, names={})
    assert list(dict.fromkeys(map(str, ready.table["layer"]))) == ["early", "late"]
    assert ready.draw().axes
    with pytest.raises(ValueError, match="groups are of the layers in table 'layers'"):
        prepare("gradient_histograms", RECORDED, groups=BLOCKS)


def test_a_renaming_that_means_nothing_is_refused():
    with pytest.raises(ValueError, match="no layer fc; there are: conv, head"):
        check_names({"fc": "x"}, ["conv", "head"])
    with pytest.raises(ValueError, match="two layers would be named head"):
        check_names({"conv": "head"}, ["conv", "head"])


def test_rows_without_layers_are_left_as_they_are():
    table = pd.DataFrame({"step": [0]})
    assert renamed(table, {"a": "b"}) is table


def test_the_command_takes_names_and_groups_and_keeps_them_with_the_figure(tmp_path):
    arguments = ["--only", "gradient_norm", "--format", "svg", "--out", str(tmp_path)]
    naming = ["--rename", "classifier=read-out", "--group", "early=features.block1.*", "--group", "late=classifier"]
    result = CliRunner().invoke(app, ["figures", str(RECORDED), *arguments, *naming])
    assert result.exit_code == 0, result.output
    facts = json.loads((tmp_path / "gradient_norm.json").read_text())
    assert facts["groups"] == {"early": "features.block1.*", "late": "classifier"}
    assert facts["names"] == {"classifier": "read-out"}
    refused = CliRunner().invoke(app, ["figures", str(RECORDED), *arguments, "--rename", "classifier"])
    assert str(refused.exception) == "'classifier': expected --rename LAYER=NAME"
