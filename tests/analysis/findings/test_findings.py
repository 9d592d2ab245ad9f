from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.findings import COLUMNS, FINDINGS, Thresholds, by_run, findings, findings_of

NO_STEPS = pd.DataFrame()


def layers(**columns: list[float]) -> pd.DataFrame:
    count = len(next(iter(columns.values())))
    keys = {"run": "r", "layer": "conv", "step": np.arange(count) * 10}
    return pd.DataFrame({**keys, **columns})


def only(found: pd.DataFrame) -> tuple[str, int]:
    (row,) = found.to_dict("records")
    return row["kind"], row["from_step"]


@pytest.mark.parametrize("column", ["weight_nonfinite", "grad_nonfinite", "activation_nonfinite"])
def test_the_first_step_with_a_nonfinite_entry_is_found(column: str) -> None:
    found = findings(layers(**{column: [0.0, 0.0, 3.0, 9.0]}), NO_STEPS)
    assert only(found) == ("NaN", 20)
    assert found["message"][0].startswith("3 entries of the ")


def test_an_exploding_spectral_norm_is_found_where_it_passes_ten_times_its_first() -> None:
    assert only(findings(layers(spectral_norm=[2.0, 19.0, 20.0, 21.0]), NO_STEPS)) == ("exploding", 30)


def test_the_layer_whose_outputs_are_the_networks_does_not_die() -> None:
    inner, last = (layers(dead_fraction=[1.0, 1.0]).assign(layer=name, layer_index=i) for i, name in enumerate("ab"))
    found = findings(pd.concat([inner, last], ignore_index=True), NO_STEPS)
    assert found[["kind", "layer"]].to_numpy().tolist() == [["dying", "a"]]
    assert findings(last, NO_STEPS)["layer"].tolist() == ["b"]  # nobody knows that it is the last


def test_neither_output_of_a_gan_dies() -> None:
    names = ["critic.conv", "critic.classifier", "generator.conv", "generator.image"]
    parts = [layers(dead_fraction=[1.0]).assign(layer=name, layer_index=i) for i, name in enumerate(names)]
    found = findings(pd.concat(parts, ignore_index=True), NO_STEPS)
    assert found["layer"].tolist() == ["critic.conv", "generator.conv"]


def test_a_dying_layer_is_found_at_its_threshold() -> None:
    assert only(findings(layers(dead_fraction=[0.0, 0.89, 0.9]), NO_STEPS)) == ("dying", 20)


def test_a_vanishing_gradient_is_found_below_its_share_of_the_largest() -> None:
    assert only(findings(layers(grad_l2_norm=[1.0, 10.0, 2e-4, 9e-5]), NO_STEPS)) == ("vanishing", 30)


def test_drift_is_found_in_deviations_of_the_weights() -> None:
    table = layers(weight_mean=[0.1, 0.14, 0.16], weight_var=[0.01, 0.01, 0.01])
    assert only(findings(table, NO_STEPS)) == ("drift", 20)


def test_a_loss_that_diverges_is_found_once() -> None:
    steps = pd.DataFrame({"run": "r", "step": [0, 1, 2], "loss": [1.0, np.inf, np.nan]})
    assert only(findings(layers(other=[0.0]), steps)) == ("NaN", 1)


def test_a_healthy_run_has_no_finding() -> None:
    table = layers(
        weight_mean=[0.0, 0.01],
        weight_var=[0.01, 0.01],
        spectral_norm=[1.0, 1.1],
        dead_fraction=[0.0, 0.1],
        grad_l2_norm=[1.0, 0.5],
        weight_nonfinite=[0.0, 0.0],
    )
    assert findings(table, pd.DataFrame({"run": "r", "step": [0], "loss": [1.0]})).empty


def test_columns_that_are_not_there_are_not_looked_for() -> None:
    assert findings(layers(other=[1.0]), NO_STEPS).empty
    assert findings(pd.DataFrame(), pd.DataFrame()).empty


def test_thresholds_can_be_set() -> None:
    table = layers(dead_fraction=[0.0, 0.5])
    assert findings(table, NO_STEPS).empty
    assert only(findings(table, NO_STEPS, thresholds=Thresholds(dead=0.5))) == ("dying", 10)


def test_the_gravest_come_first() -> None:
    table = pd.concat(
        [layers(dead_fraction=[1.0]), layers(weight_nonfinite=[0.0, 1.0]), layers(spectral_norm=[1.0, 99.0])]
    )
    assert findings(table, NO_STEPS)["kind"].tolist() == ["NaN", "exploding", "dying"]


def test_each_layer_counts_and_in_short_each_run_and_kind_once() -> None:
    table = pd.concat([layers(weight_nonfinite=[0.0, 1.0]).assign(layer=name) for name in "abc"])
    found = findings(table, NO_STEPS)
    assert len(found) == 3
    (short,) = by_run(found).to_dict("records")
    assert (short["layer"], short["layers"]) == ("a", 3)


def test_a_store_is_searched_in_the_columns_it_has(make_store: Callable[..., Path]) -> None:
    store = make_store(norms=["sn"], records=20, nan_from={"sn-s0": 10}, without_columns=["dead_fraction"])
    found = findings_of(store)
    nan = found[found["kind"] == "NaN"]
    assert set(nan["from_step"]) == {500}
    assert set(nan["layer"]) == {"block1.conv", "block2.conv", "block3.conv", "classifier"}


def test_a_loss_that_was_not_measured_is_no_finding(make_store: Callable[..., Path]) -> None:
    store = make_store(norms=["bn"], records=3, without_tables=["layers"])
    assert findings_of(store).empty


@pytest.mark.parametrize("kind", FINDINGS)
def test_every_finding_has_a_file_of_its_own_and_tolerates_tables_without_its_columns(kind: str) -> None:
    finding = FINDINGS[kind]
    assert finding.kind == kind
    assert finding.find.__module__ == f"analysis.findings.{finding.find.__name__}"
    found = finding.find(pd.DataFrame(), pd.DataFrame(), Thresholds())
    assert found.empty
    assert tuple(found) == COLUMNS
