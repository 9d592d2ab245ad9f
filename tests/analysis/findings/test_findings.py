from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.findings import COLUMNS, FINDINGS, Thresholds, findings, findings_in, findings_of
from analysis.findings.run_records import RunRecords

NO_STEPS = pd.DataFrame()


def layers(**columns: list[float]) -> pd.DataFrame:
    """Return rows of one layer, a record every 10 steps."""
    count = len(next(iter(columns.values())))
    keys = {"run": "r", "layer": "conv", "layer_index": 0, "layer_type": "Conv2d", "step": np.arange(count) * 10}
    return pd.DataFrame({**keys, **columns})


def network(**columns: list[list[float]]) -> pd.DataFrame:
    """Return rows of several layers, "0", "1", ...: for each column the values of each layer."""
    count = len(next(iter(columns.values())))
    parts = [layers(**{name: values[i] for name, values in columns.items()}) for i in range(count)]
    return pd.concat([part.assign(layer=str(i), layer_index=i) for i, part in enumerate(parts)], ignore_index=True)


def losses(*values: float) -> pd.DataFrame:
    return pd.DataFrame({"run": "r", "step": np.arange(len(values)) * 10, "split": "train", "loss": values})


def in_short(found: pd.DataFrame) -> list[tuple[str, str, str, int]]:
    return [(row["kind"], row["severity"], row["layer"], row["from_step"]) for row in found.to_dict("records")]


@pytest.mark.parametrize("column", ["weight_nonfinite", "grad_nonfinite", "activation_nonfinite"])
def test_the_first_step_with_a_nonfinite_entry_is_found(column: str) -> None:
    found = findings_in(layers(**{column: [0.0, 0.0, 3.0, 9.0]}), NO_STEPS)
    assert in_short(found) == [("NaN", "grave", "conv", 20)]
    assert found["message"][0].startswith("3 entries of the ")
    assert found["column"][0] == column


def test_of_nan_gradients_the_layer_nearest_to_the_loss_is_told_too() -> None:
    found = findings_in(network(grad_nonfinite=[[0, 5], [0, 5], [0, 0]]), NO_STEPS)
    assert in_short(found) == [("NaN", "grave", "0", 10)]
    assert "1 is nearest to the loss" in found["message"][0]
    assert found["affected"][0] == ["0", "1"]
    assert found["layers"][0] == 2


def test_a_layer_may_have_braces_in_its_name() -> None:
    found = findings_in(layers(grad_nonfinite=[1.0]).assign(layer="{a}"), NO_STEPS)
    assert "{a} is nearest to the loss" in found["message"][0]


def test_of_one_step_the_tensor_that_is_computed_first_is_named() -> None:
    found = findings_in(network(grad_nonfinite=[[0, 1], [0, 1]], activation_nonfinite=[[0, 0], [0, 7]]), NO_STEPS)
    assert in_short(found) == [("NaN", "grave", "1", 10)]
    assert found["layers"][0] == 2


def test_a_loss_that_is_nan_is_found_once_in_any_split() -> None:
    found = findings_in(NO_STEPS, losses(1.0, np.inf, np.nan).assign(split="test"))
    assert in_short(found) == [("NaN", "grave", "", 10)]
    assert found["layers"][0] == 0
    assert found["to_step"][0] == 20


def test_a_gradient_that_grows_a_hundredfold_explodes_and_does_not_vanish_before() -> None:
    found = findings_in(network(grad_l2_norm=[[1, 1, 1.1, 1, 1e6, 1e6], [1, 1, 1, 1, 1, 1]]), NO_STEPS)
    assert in_short(found) == [("exploding", "grave", "0", 40)]
    assert found["to_step"][0] == 50
    assert found["value"][0] == pytest.approx(1e6 / 1.1)


def test_a_gradient_that_starts_at_zero_in_one_layer_is_no_explosion() -> None:
    assert findings_in(network(grad_l2_norm=[[0, 1e-3, 0.1, 1, 1], [1, 1, 1, 1, 1]]), NO_STEPS).empty


def test_a_gradient_that_each_layer_amplifies_explodes_by_depth() -> None:
    table = network(grad_l2_norm=[[10.0 ** (9 - layer)] * 4 for layer in range(10)])
    found = findings_in(table, NO_STEPS)
    assert in_short(found) == [("exploding", "grave", "0", 0)]


def test_a_gradient_that_hardly_reaches_the_first_layers_vanishes() -> None:
    found = findings_in(network(grad_l2_norm=[[1e-9] * 3, [1e-7] * 3, [1e-4] * 3, [1.0] * 3]), NO_STEPS)
    assert in_short(found) == [("vanishing", "grave", "0", 0)]
    assert found["layers"][0] == 2


def test_gradients_that_fall_together_as_the_loss_does_are_convergence() -> None:
    falling = [1.0, 1e-2, 1e-5, 1e-8, 1e-8, 1e-8]
    table = network(grad_l2_norm=[falling, falling])
    assert findings_in(table, losses(*[1.0, 0.5, 0.1, 0.01, 0.01, 0.01])).empty
    assert in_short(findings_in(table, losses(*[1.0] * 6))) == [("vanishing", "grave", "0", 30)]


def test_the_layer_whose_outputs_are_the_networks_is_not_dead() -> None:
    found = findings_in(network(dead_fraction=[[1.0, 1.0], [1.0, 1.0]]), NO_STEPS)
    assert in_short(found) == [("dead units", "grave", "0", 0)]
    assert (
        in_short(findings_in(layers(dead_fraction=[1.0, 1.0]), NO_STEPS))[0][2] == "conv"
    )  # nobody knows it is the last


def test_neither_output_of_a_gan_is_dead() -> None:
    names = ["critic.conv", "critic.classifier", "generator.conv", "generator.image"]
    table = network(dead_fraction=[[1.0, 1.0]] * 4)
    (row,) = findings_in(table.assign(layer=[names[int(i)] for i in table["layer"]]), NO_STEPS).to_dict("records")
    assert row["affected"] == ["critic.conv", "generator.conv"]


def test_a_dead_layer_is_found_at_its_threshold() -> None:
    assert in_short(findings_in(layers(dead_fraction=[0.0, 0.89, 0.9, 0.9]), NO_STEPS)) == [
        ("dead units", "warning", "conv", 20)
    ]


def test_negative_outputs_without_zeros_in_the_gradient_are_not_dead() -> None:
    assert findings_in(layers(dead_fraction=[1.0, 1.0], grad_sparsity=[0.0, 0.0]), NO_STEPS).empty
    assert len(findings_in(layers(dead_fraction=[1.0, 1.0], grad_sparsity=[1.0, 1.0]), NO_STEPS)) == 1


def test_a_spectral_norm_that_explodes_is_found_where_it_passes_ten_times_its_first() -> None:
    found = findings_in(layers(spectral_norm=[2.0, 19.0, 20.0, 21.0, 81.0]), NO_STEPS)
    assert in_short(found) == [
        ("spectral explosion", "warning", "conv", 40),
        ("spectral explosion", "note", "conv", 30),
    ]


def test_a_small_initial_weight_that_grows_to_what_others_have_does_not_explode() -> None:
    assert findings_in(network(spectral_norm=[[1.0, 1.0], [0.01, 1.0], [1.0, 1.0]]), NO_STEPS).empty


def test_drift_is_a_note_and_far_drift_a_warning_in_deviations_of_the_weights() -> None:
    table = layers(weight_mean=[0.1, 0.14, 0.16, 0.4], weight_var=[0.01] * 4)
    assert in_short(findings_in(table, NO_STEPS)) == [("drift", "warning", "conv", 30), ("drift", "note", "conv", 20)]


def test_the_mean_of_few_weights_does_not_drift() -> None:
    size = float(np.sqrt(12 * 0.01))
    assert findings_in(layers(weight_mean=[0.0, 0.1], weight_var=[0.01] * 2, weight_l2_norm=[size] * 2), NO_STEPS).empty


def test_a_layer_that_is_not_moved_while_others_are() -> None:
    table = network(update_ratio=[[1e-3] * 3, [0.0] * 3, [1e-3] * 3], grad_l2_norm=[[1.0] * 3] * 3)
    assert in_short(findings_in(table, NO_STEPS)) == [("no update", "grave", "1", 0)]


def test_a_network_that_is_not_moved_and_a_schedule_that_ends_at_zero() -> None:
    table = network(update_ratio=[[1e-3] * 3 + [0.0] * 3] * 2, grad_l2_norm=[[1.0] * 6] * 2)
    rates = losses(*[1.0] * 6).assign(lr=[1.0, 0.5, 0.5, 0.0, 0.0, 0.0])
    assert in_short(findings_in(table, rates)) == [("no training", "grave", "0", 30)]
    annealed = rates.assign(lr=[1.0, 0.5, 0.001, 0.0, 0.0, 0.0])
    assert in_short(findings_in(table, annealed)) == [("no training", "note", "0", 30)]


def test_one_record_without_an_update_is_none() -> None:
    table = network(update_ratio=[[0.0, 1e-3, 1e-3]] * 2, grad_l2_norm=[[1.0] * 3] * 2)
    assert findings_in(table, NO_STEPS).empty


def test_gradients_that_add_up_are_told_from_the_step_at_which_they_begin() -> None:
    sums = [1.0, 1.02, 0.98, 2.0, 2.9, 4.0, 5.1, 5.0, 6.0, 7.0]
    table = network(grad_l2_norm=[sums, [2 * s for s in sums]])
    table["step"] //= 10  # the number of summands is that of steps
    assert in_short(findings_in(table, NO_STEPS)) == [("accumulated gradient", "grave", "0", 3)]
    assert findings_in(table, losses(*[1.0, 0.9, 0.8, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.1]).assign(step=range(10))).empty


def test_an_accelerating_rise_is_no_sum() -> None:
    assert findings_in(network(grad_l2_norm=[[1.5**i for i in range(9)]] * 2), NO_STEPS).empty


def test_a_loss_that_stays_above_its_start_diverges_and_one_high_value_is_a_spike() -> None:
    calm = [1.0, 1.1, 0.9, 1.05, 0.95, 1.0, 1.1, 0.9, 1.0, 1.0]
    assert in_short(findings_in(NO_STEPS, losses(*calm, 9.0, *calm))) == [("loss spike", "warning", "", 100)]
    found = findings_in(NO_STEPS, losses(*calm, 20.0, 30.0, 40.0))
    assert in_short(found)[0] == ("divergence", "grave", "", 100)


def test_a_loss_that_does_not_move_is_a_note() -> None:
    flat = 0.69 + 1e-4 * np.sin(np.arange(40))
    assert in_short(findings_in(NO_STEPS, losses(*flat))) == [("plateau", "note", "", 0)]


def test_columns_that_are_not_there_are_not_looked_for() -> None:
    assert findings_in(layers(other=[1.0]), NO_STEPS).empty
    empty = findings_in(pd.DataFrame(), pd.DataFrame())
    assert empty.empty
    assert tuple(empty) == COLUMNS


def test_thresholds_can_be_set() -> None:
    table = layers(dead_fraction=[0.0, 0.5, 0.5])
    assert findings_in(table, NO_STEPS).empty
    assert len(findings_in(table, NO_STEPS, thresholds=Thresholds(dead=0.5))) == 1


def test_thresholds_are_read_from_words() -> None:
    assert Thresholds.parse(["dead=0.5", "drift=2"]) == Thresholds(dead=0.5, drift=2.0)
    with pytest.raises(ValueError, match=r"threshold 'deed=1': expected name=number, one of vanished=1e-06, faded="):
        Thresholds.parse(["deed=1"])
    with pytest.raises(ValueError, match=r"threshold 'dead=much': expected a number after '=', as in dead=0\.5"):
        Thresholds.parse(["dead=much"])


def test_the_gravest_come_first() -> None:
    table = pd.concat(
        [
            layers(dead_fraction=[0.9, 0.9]),
            layers(weight_nonfinite=[0.0, 1.0]).assign(run="s"),
            layers(spectral_norm=[1.0, 99.0]).assign(run="t"),
        ]
    )
    assert findings_in(table, NO_STEPS)["kind"].tolist() == ["NaN", "dead units", "spectral explosion"]


def test_layers_are_counted_and_the_first_in_forward_order_is_named() -> None:
    table = network(weight_nonfinite=[[0.0, 0.0, 1.0], [0.0, 1.0, 1.0], [0.0, 1.0, 1.0]])
    (row,) = findings_in(table.iloc[::-1], NO_STEPS).to_dict("records")
    assert (row["layer"], row["layers"], row["from_step"], row["to_step"]) == ("1", 3, 10, 20)


def test_a_matrix_has_null_where_a_row_is_missing_and_layers_in_forward_order() -> None:
    table = network(x=[[1.0, 2.0], [3.0, 4.0]]).drop(index=1)
    run = RunRecords("r", table.iloc[::-1], NO_STEPS)
    assert run.layers == ("0", "1")
    matrix = run.whole("x")
    assert matrix is not None
    np.testing.assert_array_equal(matrix, [[1.0, 3.0], [np.nan, 4.0]])
    assert run.whole("y") is None


def test_a_store_is_searched_in_the_columns_it_has(make_store: Callable[..., Path]) -> None:
    store = make_store(norms=["sn"], records=20, nan_from={"sn-s0": 10}, without_columns=["dead_fraction"])
    found = findings_of(store)
    nan = found[found["kind"] == "NaN"].to_dict("records")
    assert [(row["from_step"], row["affected"]) for row in nan] == [
        (500, ["block1.conv", "block2.conv", "block3.conv", "classifier"])
    ]


def test_a_loss_that_was_not_measured_is_no_finding(make_store: Callable[..., Path]) -> None:
    store = make_store(norms=["bn"], records=3, without_tables=["layers"])
    assert findings(store).empty


@pytest.mark.parametrize("kind", FINDINGS)
def test_every_finding_has_a_file_of_its_own_and_tolerates_tables_without_its_columns(kind: str) -> None:
    finding = FINDINGS[kind]
    assert finding.kind == kind
    assert finding.find.__module__ == f"analysis.findings.{finding.find.__name__}"
    run = RunRecords("r", pd.DataFrame(), pd.DataFrame())
    assert [evidence for evidence in finding.find(run, Thresholds()) if evidence.row("r", kind)] == []


def test_the_page_of_findings_names_every_kind_and_the_columns_it_reads() -> None:
    page = (Path(__file__).parents[3] / "docs" / "findings.md").read_text()
    assert [line.split("`")[1] for line in page.splitlines() if line.startswith("| `")] == list(FINDINGS)
