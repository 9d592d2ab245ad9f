"""Findings of a weight at another scale, a raised learning rate, and modes: on what shows them, and what must not."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest

from analysis.findings import findings_in
from analysis.findings.causes import inputs, signals
from analysis.findings.causes.weighing import AGAINST, Onset
from analysis.findings.run_records import RunRecords

NOTHING = pd.DataFrame()


def layers(column: str, values: np.ndarray, *, kind: str = "Linear", **columns: float) -> pd.DataFrame:
    """Return rows of layers "0", "1", ... of one type from a column ``(records, layers)``."""
    records, count = values.shape
    places = np.tile(np.arange(count), records)
    keys = {"run": "r", "layer": places.astype(str), "layer_index": places, "layer_type": kind}
    return pd.DataFrame({**keys, "step": np.repeat(np.arange(records), count), column: values.ravel(), **columns})


def logged(losses: Sequence[float], rates: Sequence[float]) -> pd.DataFrame:
    return pd.DataFrame({"run": "r", "step": np.arange(len(losses)), "split": "train", "loss": losses, "lr": rates})


def told(rows: pd.DataFrame, steps: pd.DataFrame = NOTHING) -> list[tuple[str, str, int, float]]:
    found = findings_in(rows, steps).to_dict("records")
    return [(row["kind"], row["layer"], row["from_step"], row["value"]) for row in found]


@pytest.mark.parametrize(
    ("first", "found"),
    [
        ([1, 1, 30, 1, 1, 1], [("odd scale", "2", 0, 30.0)]),
        ([1, 1, 15, 1, 1, 1], []),  # below the level
        ([1, 30, 30, 1, 1, 1], []),  # a third of the layers: another sort of layer
        ([1, 30, 1, 1], []),  # too few to compare with
        ([1, 1, np.nan, 0, 1, 1], []),
    ],
)
def test_a_weight_far_above_its_kind_from_the_start_is_at_an_odd_scale(first: list[float], found: list) -> None:
    assert told(layers("weight_rms_norm", np.tile(np.array(first, float), (3, 1)))) == found


def test_a_weight_that_grows_later_is_at_no_odd_scale() -> None:
    values = np.ones((4, 6))
    values[2:, 3] = 50
    assert told(layers("weight_rms_norm", values)) == []


BEFORE, AFTER = list(np.linspace(2, 1, 30)), [3.0] * 15


@pytest.mark.parametrize(
    ("losses", "rates", "found"),
    [
        (BEFORE + AFTER, [0.1] * 30 + [1.0] * 15, [("rate jump", "", 30, 10.0)]),
        (BEFORE + [0.9] * 15, [0.1] * 30 + [1.0] * 15, []),  # the loss did not rise
        (BEFORE + AFTER, [0.1] * 30 + [0.2] * 15, []),  # a small rise of the rate
        (BEFORE + AFTER, [1.0] * 10 + [0.1] * 20 + [1.0] * 15, []),  # a warm restart
        (BEFORE[:10] + AFTER, [0.1] * 10 + [1.0] * 15, []),  # too early to tell
        (BEFORE + AFTER, [0.0] * 30 + [1.0] * 15, []),  # from 0 there is no multiple
    ],
)
def test_a_rate_above_all_before_with_a_loss_that_rises_is_a_jump(losses, rates, found) -> None:
    assert told(NOTHING, logged(losses, rates)) == found


def test_a_rate_that_makes_the_loss_nan_is_a_jump_and_explains_the_nan() -> None:
    found = findings_in(NOTHING, logged([*BEFORE, 3.0, *([np.nan] * 14)], [0.1] * 30 + [1.0] * 15))
    assert list(zip(found["kind"], found["from_step"], strict=True)) == [("rate jump", 30), ("NaN", 31)]
    assert found["explained_by"].tolist() == ["", "rate jump"]


def test_a_jump_names_the_rates_and_the_step() -> None:
    rows = layers("weight_l2_norm", np.ones((45, 2)))
    found = findings_in(rows, logged(BEFORE + AFTER, [0.1] * 30 + [1.0] * 15))
    assert found["cause"].iloc[0].endswith("(it rose from 0.1 to 1 at step 30)")


def test_a_network_left_in_eval_mode_is_told_from_then_on_and_one_part_of_it_is_not() -> None:
    modes = np.ones((6, 3))
    modes[3:] = 0
    assert told(layers("training", modes, grad_l2_norm=1.0)) == [("eval mode", "0", 3, 0.0)]
    modes[:, 2] = 1
    assert told(layers("training", modes, grad_l2_norm=1.0)) == []


def test_a_frozen_weight_with_an_old_gradient_is_not_missing_in_the_optimizer() -> None:
    updates = np.full((4, 4), 0.01)
    updates[:, 0] = 0
    rows = layers("update_ratio", updates, grad_l2_norm=1.0)
    assert told(rows) == [("no update", "0", 0, 1.0)]
    assert told(rows.assign(requires_grad=(rows["layer"] != "0").astype(float))) == []


def test_of_a_step_without_a_record_nothing_is_said_of_inputs_and_targets() -> None:
    rows = layers("activation_var", np.ones((3, 2)), activation_mean=0.0, update_ratio=0.001)
    rows["step"] *= 10
    run = RunRecords("r", rows, NOTHING)
    for cause in (inputs.OTHER_TARGETS, inputs.LARGE_INPUTS):
        assert cause.sign(Onset(run, 14)) is None
        assert cause.sign(Onset(run, 10)) is not None


@pytest.mark.parametrize(("kind", "size", "told"), [("GRU", 1e-4, "size"), ("GRU", 0.1, ""), ("Linear", 1e-9, "")])
def test_gates_are_shut_where_a_recurrent_layer_gives_next_to_nothing(kind: str, size: float, told: str) -> None:
    rows = layers("activation_var", np.full((2, 2), size**2 * (1 - 1e-9)), kind=kind, activation_mean=0.0)
    sign = signals.SHUT_GATES.sign(Onset(RunRecords("r", rows, NOTHING), 0))
    assert sign is not None
    assert (sign == AGAINST) == (not told)
    assert ("have size" in sign.number) == bool(told)


@pytest.mark.parametrize(
    ("epsilon", "size", "found"),
    [
        (2**-7, 1e-4, [("rounded updates", "0", 0, pytest.approx(0.0128))]),
        (2**-7, 1e-3, []),  # a usual step
        (2**-23, 1e-4, []),  # float32
    ],
)
def test_steps_far_below_the_resolution_of_the_weights_are_rounded_away(
    epsilon: float, size: float, found: list
) -> None:
    rows = layers("update_ratio", np.full((6, 3), size), weight_epsilon=epsilon, weight_l2_norm=1.0)
    assert told(rows) == found


def test_a_weight_that_falls_within_five_records_has_collapsed_and_one_that_falls_slowly_has_not() -> None:
    fast, slow = np.ones((12, 3)), np.ones((12, 3))
    fast[6:, 1] = np.maximum(0.7 ** np.arange(1, 7), 0.2)
    slow[:, 1] = 0.9 ** np.arange(12)
    assert told(layers("weight_l2_norm", fast)) == [("weight collapse", "1", 9, pytest.approx(0.7**4))]
    assert told(layers("weight_l2_norm", slow)) == []


def jumping(at: int, factor: float, *, update: float = 0.001, **columns: float) -> pd.DataFrame:
    """Return rows whose layer "1" has another norm from a record on, with updates of one size."""
    norms = np.ones((40, 3))
    norms[at:, 1] = factor
    return layers("weight_l2_norm", norms, update_ratio=update, **columns)


@pytest.mark.parametrize(
    ("rows", "losses", "found"),
    [
        (jumping(30, 0.7), [1.0] * 30 + [5.0] * 10, [("replaced weight", "1", 30, "warning")]),
        (jumping(30, 0.7), [1.0] * 40, [("replaced weight", "1", 30, "note")]),  # it may be meant
        (jumping(30, 0.7), [], [("replaced weight", "1", 30, "note")]),
        (jumping(30, 0.95), [1.0] * 30 + [5.0] * 10, []),  # a small change
        (jumping(30, 0.7, update=0.1), [1.0] * 30 + [5.0] * 10, []),  # the step itself may have made it
        (jumping(30, 0.7, raw_weight_var=1.0), [1.0] * 30 + [5.0] * 10, []),  # computed from another tensor
        (jumping(30, 0.7, update=np.nan), [1.0] * 30 + [5.0] * 10, []),
    ],
)
def test_a_weight_that_changes_by_more_than_its_updates_was_replaced(
    rows: pd.DataFrame, losses: list[float], found: list
) -> None:
    steps = logged(losses, [0.1] * len(losses)) if losses else NOTHING
    kinds = findings_in(rows, steps).query("kind == 'replaced weight'").to_dict("records")
    assert [(row["kind"], row["layer"], row["from_step"], row["severity"]) for row in kinds] == found


def test_many_steps_between_two_records_allow_a_large_change() -> None:
    rows = jumping(30, 1.6)
    assert "replaced weight" in set(findings_in(rows, NOTHING)["kind"])
    rows["step"] *= 200  # of 0.1 %
    assert "replaced weight" not in set(findings_in(rows, NOTHING)["kind"])


def test_units_before_no_nonlinearity_are_not_dead() -> None:
    shares = np.zeros((5, 3))
    shares[1:, 1] = 1.0
    rows = layers("dead_fraction", shares, grad_sparsity=1.0)
    assert told(rows) == [("dead units", "1", 1, 1.0)]
    assert told(rows.assign(feeds_nonlinearity=np.where(rows["layer"] == "1", 0, 1))) == []
    first_alone = np.where(rows["step"] == 0, np.where(rows["layer"] == "1", 0.0, 1.0), np.nan)  # recorded rarely
    assert told(rows.assign(feeds_nonlinearity=first_alone)) == []


@pytest.mark.parametrize(
    ("kind", "variance", "told"), [("Embedding", 0.0, "are alike"), ("Embedding", 0.1, ""), ("Linear", 0.0, "")]
)
def test_an_embedding_whose_outputs_are_all_alike_was_given_one_index(kind: str, variance: float, told: str) -> None:
    rows = layers("activation_var", np.full((2, 2), variance), kind=kind)
    sign = signals.PADDING.sign(Onset(RunRecords("r", rows, NOTHING), 0, 0))
    assert sign is not None
    assert (sign == AGAINST) == (not told)
    assert told in sign.number
