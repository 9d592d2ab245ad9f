"""The findings that need several columns, each on the smallest table that shows it and on one that must not."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest

from analysis.findings import findings_in

NO_STEPS = pd.DataFrame()
Rows = dict[str, Sequence[float]]


def table(*layers: tuple[str, str, Rows], every: int = 1) -> pd.DataFrame:
    """Return rows of layers given as name, type and columns, in forward order."""
    parts = []
    for index, (name, kind, columns) in enumerate(layers):
        count = len(next(iter(columns.values())))
        keys = {"run": "r", "layer": name, "layer_index": index, "layer_type": kind}
        parts.append(pd.DataFrame({**keys, "step": np.arange(count) * every, **columns}))
    return pd.concat(parts, ignore_index=True)


def told(rows: pd.DataFrame, steps: pd.DataFrame = NO_STEPS) -> list[tuple[str, str, str, int]]:
    found = findings_in(rows, steps)
    return [(row["kind"], row["severity"], row["layer"], row["from_step"]) for row in found.to_dict("records")]


def flow(gradient: bool, active: bool = True, arrives: bool = True, records: int = 5) -> Rows:
    """Return the columns of a layer that takes part as said, at every record."""

    def column(there: bool, value: float) -> list[float]:
        return [value if there else np.nan] * records

    return {
        "weight_mean": list(np.linspace(0, 0.001, records)),
        "grad_l2_norm": column(gradient, 1.0),
        "grad_nonfinite": column(gradient, 0.0),
        "activation_mean": column(active, 0.1),
        "activation_nonfinite": column(active, 0.0),
        "activation_grad_var": column(arrives, 1.0),
    }


TRAINED = flow(gradient=True)


def test_a_layer_without_gradient_at_whose_output_one_arrives_is_frozen() -> None:
    assert told(table(("a", "Linear", TRAINED), ("b", "Linear", flow(False)), ("c", "Linear", TRAINED))) == [
        ("frozen", "note", "b", 0)
    ]


def test_a_layer_at_whose_output_no_gradient_arrives_is_detached_if_one_before_it_is_trained() -> None:
    cut = flow(False, arrives=False)
    assert told(table(("a", "Linear", TRAINED), ("b", "Linear", cut), ("c", "Linear", TRAINED))) == [
        ("detached", "warning", "b", 0)
    ]
    assert told(table(("a", "Linear", cut), ("b", "Linear", TRAINED))) == [("no gradient", "note", "a", 0)]
    assert told(table(("a", "Linear", TRAINED), ("b", "Embedding", cut), ("c", "Linear", TRAINED))) == [
        ("no gradient", "note", "b", 0)
    ]


def test_a_whole_branch_without_gradient_may_be_frozen_on_purpose() -> None:
    cut = flow(False, arrives=False)
    rows = table(("student.0", "Linear", TRAINED), ("other.0", "Linear", cut), ("other.1", "Linear", cut))
    assert told(rows) == [("no gradient", "note", "other.0", 0)]


def test_a_layer_that_loses_its_gradient_is_a_warning_from_that_step() -> None:
    lost = {name: [*TRAINED[name], *TRAINED[name]] for name in TRAINED}
    frozen = {
        **lost,
        **{name: [*TRAINED[name], TRAINED[name][0], *[np.nan] * 4] for name in ("grad_l2_norm", "grad_nonfinite")},
    }
    assert told(table(("a", "Linear", lost), ("b", "Linear", frozen), ("c", "Linear", lost))) == [
        ("frozen", "warning", "b", 6)
    ]


def test_a_layer_that_is_not_run_is_unused_and_a_whole_branch_a_note() -> None:
    unused = flow(False, active=False, arrives=False)
    assert told(table(("a", "Linear", TRAINED), ("b", "Linear", unused))) == [("unused", "warning", "b", 0)]
    rows = table(("a", "Linear", TRAINED), ("teacher.0", "Linear", unused), ("teacher.1", "Linear", unused))
    assert told(rows) == [("unused", "note", "teacher.0", 0)]


def test_an_expert_that_was_not_chosen_yet_is_a_note() -> None:
    never, now_and_then = flow(False, active=False, arrives=False), flow(True)
    for name in now_and_then:
        now_and_then[name] = [*now_and_then[name][:2], *([np.nan] * 2 if name != "weight_mean" else [0.1, 0.1]), 0.0]
    layers = ("a", "Linear", TRAINED), ("experts.0", "Linear", now_and_then), ("experts.1", "Linear", never)
    assert told(table(*layers)) == [("unused", "note", "experts.1", 0)]


def test_a_second_weight_of_a_module_is_run_with_it() -> None:
    module = {name: values for name, values in flow(False).items() if not name.startswith(("weight", "grad"))}
    weight = flow(True, active=False, arrives=False)
    assert told(table(("rnn", "LSTM", module), ("rnn.weight_hh_l0", "LSTM", weight), ("a", "Linear", TRAINED))) == []


def batch_norm(mean: float, variance: float, *, gradient: float = 1.0) -> Rows:
    columns = {
        "activation_mean": mean,
        "activation_var": variance,
        "activation_nonfinite": 0.0,
        "weight_mean": 1.0,
        "weight_var": 0.01,
        "bias_mean": 0.5,
        "bias_var": 0.04,
        "grad_l2_norm": gradient,
    }
    return {name: [value] * 3 for name, value in columns.items()}


def test_a_batch_norm_that_does_not_normalise_its_batch_is_in_eval_mode() -> None:
    before = {"activation_mean": [0.0] * 3, "activation_var": [1.0] * 3}
    layers = ("conv", "Conv2d", before)
    assert told(table(layers, ("norm", "BatchNorm2d", batch_norm(0.5, 1.05)))) == []
    for mean, variance in ((0.7, 1.05), (0.5, 1.4), (0.5, 0.4)):
        assert told(table(layers, ("norm", "BatchNorm2d", batch_norm(mean, variance)))) == [
            ("eval mode", "warning", "norm", 0)
        ]
    assert told(table(layers, ("norm", "LayerNorm", batch_norm(0.7, 1.05)))) == []
    frozen = batch_norm(0.7, 1.05, gradient=np.nan)
    assert told(table(layers, ("norm", "BatchNorm2d", frozen))) == [("eval mode", "note", "norm", 0)]


def test_weights_that_are_trained_without_any_training_pass() -> None:
    blind = {"grad_l2_norm": [1.0] * 5, "activation_nonfinite": [np.nan] * 5}
    assert told(table(("a", "Linear", blind))) == [("eval mode", "warning", "a", 0)]


def test_saturation_needs_large_outputs_and_a_gradient_that_is_lost() -> None:
    behind = ("b", "Linear", {"saturated_fraction": [0.0], "activation_grad_var": [1.0]})
    for lost, kinds in ((1e-4, ["saturation"]), (0.5, [])):
        inner = ("a", "Linear", {"saturated_fraction": [0.95], "activation_grad_var": [lost]})
        assert [row[0] for row in told(table(inner, behind))] == kinds
    dead = ("a", "Linear", {"saturated_fraction": [0.95], "activation_grad_var": [1e-4], "dead_fraction": [1.0]})
    assert told(table(dead, behind)) == []


@pytest.mark.parametrize(
    ("inputs", "first"), [([1.0, 1.4, 1.4], 0), ([32.0, np.nan, np.nan], None), ([np.nan, np.nan, 32.0], 0)]
)
def test_what_reaches_the_next_layer_larger_than_a_tanh_gives_is_not_saturated(
    inputs: list[float], first: int | None
) -> None:
    inner = ("a", "Linear", {"saturated_fraction": [0.95] * 3, "activation_grad_var": [1e-4] * 3, "input_rms": 50.0})
    last = ("b", "Linear", {"saturated_fraction": [0.0] * 3, "activation_grad_var": [1.0] * 3, "input_rms": inputs})
    assert told(table(inner, last)) == ([] if first is None else [("saturation", "warning", "a", first)])


@pytest.mark.parametrize(
    ("columns", "kind"),
    [
        ({"update_ratio": [0.5, 0.5, 0.01]}, "large update"),
        ({"update_ratio": [1e-8] * 5}, "small update"),
        ({"weight_l2_norm": [1.0, 1.0, 0.005]}, "weight collapse"),
        ({"effective_rank": [20.0, 20.0, 2.0]}, "rank collapse"),
        ({"effective_rank": [1.0], "spectral_norm": [2.0], "singular_value_mean": [0.1]}, "rank collapse"),
        ({"activation_mean": [0.0], "activation_var": [1e9]}, "overflow"),
        ({"grad_l2_norm": [0.0] * 3}, "zero gradient"),
    ],
)
def test_each_column_alone_tells_its_fault(columns: Rows, kind: str) -> None:
    assert {row[0] for row in told(table(("a", "Linear", columns)))} == {kind}


@pytest.mark.parametrize(
    "columns",
    [
        {"update_ratio": [0.5, 0.01, 0.01]},  # the first step of an optimizer
        {"update_ratio": [np.inf, 1.0, 0.5], "weight_l2_norm": [0.0, 1e-3, 2e-3]},  # a weight that starts at 0
        {"update_ratio": [1e-8] * 4 + [1e-3]},
        {"effective_rank": [1.0, 1.1], "spectral_norm": [1e-3] * 2, "singular_value_mean": [1e-3] * 2},  # one output
        {"effective_rank": [3.0, 0.5]},  # never had many directions
        {"activation_mean": [0.0], "activation_var": [1e6]},
        {"grad_l2_norm": [0.0, 1.0, 1.0]},
    ],
)
def test_what_only_looks_like_a_fault_is_none(columns: Rows) -> None:
    assert told(table(("a", "Linear", columns))) == []


def test_a_warm_up_is_no_training_with_small_updates() -> None:
    rows = table(("a", "Linear", {"update_ratio": [1e-8, 2e-8, 3e-8, 4e-8, 5e-8]}))
    rates = pd.DataFrame({"run": "r", "step": range(5), "split": "train", "loss": 1.0, "lr": [1.0, 2.0, 3.0, 4.0, 5.0]})
    assert told(rows, rates) == []
    assert [row[0] for row in told(rows, rates.assign(lr=1.0))] == ["small update"]


def test_a_weight_that_says_so_is_frozen_even_where_no_gradient_arrives() -> None:
    first = {**flow(False, arrives=False), "requires_grad": [0.0] * 5}
    assert told(table(("a", "Linear", first), ("b", "Linear", {**TRAINED, "requires_grad": [1.0] * 5}))) == [
        ("frozen", "note", "a", 0)
    ]


def test_the_cause_of_a_missing_gradient_says_nothing_of_frozen_weights_where_it_is_known_that_none_is() -> None:
    first = {**flow(False, arrives=False), "requires_grad": [1.0] * 5}
    found = findings_in(
        table(("a", "Linear", first), ("b", "Linear", {**TRAINED, "requires_grad": [1.0] * 5})), NO_STEPS
    )
    assert found["kind"].tolist() == ["no gradient"]
    assert "requires_grad" not in found["cause"][0] + found["remedy"][0]


@pytest.mark.parametrize(
    ("group", "epsilon", "cause"),
    [
        (np.nan, 1.2e-7, "the weight is in no group of the optimizer (a layer made or replaced after it)"),
        (0.0, 1.2e-7, "the optimizer's group of the weight has the rate 0"),
        (
            0.0,
            7.8e-3,
            "the optimizer's group of the weight has the rate 0; or its type (float16, bfloat16) is too coarse",
        ),
    ],
)
def test_a_layer_that_is_not_moved_has_the_cause_that_its_group_and_type_leave(
    group: float, epsilon: float, cause: str
) -> None:
    def state(moves: bool) -> Rows:
        columns = {"update_ratio": float(moves) * 0.01, "grad_l2_norm": 1.0, "weight_epsilon": epsilon}
        return {name: [value] * 3 for name, value in {**columns, "optimizer_group": 0.0 if moves else group}.items()}

    found = findings_in(table(("a", "Linear", state(True)), ("b", "Linear", state(False))), NO_STEPS)
    assert found[["kind", "layer"]].to_numpy().tolist() == [["no update", "b"]]
    assert found["cause"][0].startswith(cause)


@pytest.mark.parametrize(
    ("mode", "gradient", "severity"), [(0.0, 1.0, "warning"), (0.0, np.nan, "note"), (1.0, 1.0, None)]
)
def test_a_batch_norm_that_says_it_is_in_eval_mode(mode: float, gradient: float, severity: str | None) -> None:
    def layer(mode: float, gradient: float) -> Rows:
        return {"training": [1.0, mode, mode], "grad_l2_norm": [gradient] * 3}

    found = told(table(("a", "Conv2d", layer(1.0, 1.0)), ("b", "BatchNorm2d", layer(mode, gradient))))
    assert found == ([("eval mode", severity, "b", 1)] if severity else [])


def test_a_weight_that_an_optimizer_holds_is_not_cut_off_on_purpose() -> None:
    held = {"requires_grad": [1.0] * 5, "optimizer_group": [0.0] * 5}
    cut, trained = {**flow(False, arrives=False), **held}, {**TRAINED, **held}
    rows = table(("a", "Linear", cut), ("b", "Linear", cut), ("c", "Linear", trained))
    assert told(rows) == [("no gradient", "warning", "a", 0)]
    assert "b is nearest to the loss" in findings_in(rows, NO_STEPS)["message"][0]
    assert told(rows.assign(optimizer_group=np.nan)) == [("no gradient", "note", "a", 0)]


def test_gradients_that_are_there_before_the_backward_pass_add_up_unless_one_network_is_without() -> None:
    def kept(*flags: float) -> Rows:
        return {"grad_carried": list(flags), "grad_l2_norm": [1.0] * len(flags)}

    both = table(("a", "Linear", kept(0, 0, 1, 1, 1)), ("b", "Linear", kept(0, 0, 1, 1, 1)))
    assert told(both) == [("accumulated gradient", "grave", "a", 2)]
    assert told(table(("a", "Linear", kept(0, 0, 1, 0, 0)), ("b", "Linear", kept(0, 0, 1, 0, 0)))) == []
    assert told(table(("critic.0", "Linear", kept(0, 1, 1, 1)), ("generator.0", "Linear", kept(0, 0, 0, 0)))) == []


def heads(*logits: Sequence[float], layers: Sequence[str] = ("0.attn", "1.attn"), every: int = 10) -> pd.DataFrame:
    """Return table ``units`` of two heads a layer, their logits one series each, in forward order."""
    parts = []
    for place, series in enumerate(logits):
        keys = {"run": "r", "layer": layers[place // 2], "layer_index": place // 2, "unit": place % 2}
        parts.append(pd.DataFrame({**keys, "step": np.arange(len(series)) * every, "attention_logit_max": series}))
    return pd.concat(parts, ignore_index=True)


def test_attention_logits_that_grow_are_told_with_layer_and_head() -> None:
    calm, grown = [2.0, 3.0, 4.0, 5.0], [2.0, 3.0, 60.0, 70.0]
    table = heads(calm, calm, calm, grown)
    (row,) = findings_in(NO_STEPS, NO_STEPS, units=table).to_dict("records")
    assert (row["kind"], row["severity"], row["layer"], row["from_step"]) == (
        "attention logits",
        "warning",
        "1.attn",
        20,
    )
    assert (row["value"], row["layers"]) == (60.0, 1)
    assert "head 1 have grown to 60" in row["message"]


@pytest.mark.parametrize(
    "series",
    [
        [2.0, 3.0, 60.0, 5.0],  # once
        [60.0, 70.0, 80.0, 90.0],  # from the start: another scale
        [2.0, 10.0, 20.0, 40.0],  # below the limit
        [2.0, np.nan, np.nan, np.nan],
    ],
)
def test_attention_logits_that_are_large_in_another_way_are_no_finding(series: Sequence[float]) -> None:
    calm = [2.0, 3.0, 4.0, 5.0]
    assert findings_in(NO_STEPS, NO_STEPS, units=heads(calm, series, calm, calm)).empty


def test_a_later_record_does_not_move_the_step_at_which_logits_have_grown() -> None:
    series = [2.0, 3.0, 60.0, 70.0, 400.0, np.inf]
    calm = [2.0] * 6
    whole = heads(calm, series, calm, calm)
    for last in (40, 50, 60):
        found = findings_in(NO_STEPS, NO_STEPS, units=whole[whole["step"] < last])
        assert found["from_step"].tolist() == [20]
