"""A cause is told with the number that speaks for it, and not told where the tables speak against it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from analysis.findings.causes import READS, inputs, learning_rate, nonfinite, signals, weights
from analysis.findings.causes.weighing import AGAINST, Cause, Onset, Sign, weighed
from analysis.findings.run_records import RunRecords
from probes import schema

RECORDS, AT = 10, 6


def onset(layer: int | None = 0, *, loss: list[float] | None = None, lr: list[float] | None = None, **columns) -> Onset:
    """Return the place where a finding begins: step 6 of ten; a column is ``(records, layers)`` or one row a layer."""
    wide = {name: np.broadcast_to(np.asarray(values, float), (RECORDS, 2)) for name, values in columns.items()}
    rows = {"step": np.repeat(np.arange(RECORDS), 2), "layer": np.tile(["a", "b"], RECORDS)}
    table = pd.DataFrame({**rows, **{name: values.ravel() for name, values in wide.items()}})
    logged = {"loss": loss or [1.0] * RECORDS, "lr": lr or [np.nan] * RECORDS}
    steps = pd.DataFrame({"step": np.arange(RECORDS), "split": "train", **logged})
    return Onset(RunRecords("r", table, steps), AT, layer)


def jump(before: float, after: float, *, layers: tuple[int, ...] = (0, 1)) -> np.ndarray:
    """Return values that change at the onset, in some layers."""
    values = np.full((RECORDS, 2), float(before))
    values[AT:, list(layers)] = after
    return values


def told(cause: Cause, where: Onset) -> str:
    sign = cause.sign(where)
    assert sign is not None
    return sign.number if sign.strength else "against"


RISING = [2.0, 1.0, 1.0, 1.0, 1.0, 1e9] + [float("nan")] * (RECORDS - AT)
NOISY = [2e9, *RISING[1:]]
FROM_1_TO_9 = [0.1] * AT + [0.9] * (RECORDS - AT)
CASES = [
    (nonfinite.DIVERGED, onset(loss=RISING), "the loss rose from 1 to 1e+09 in the steps before"),
    (
        nonfinite.DIVERGED,
        onset(loss=RISING, lr=FROM_1_TO_9),
        "the loss rose from 1 to 1e+09 in the steps before; the learning rate rose from 0.1 to 0.9 at step 6",
    ),
    (nonfinite.DIVERGED, onset(loss=NOISY), "against"),
    (nonfinite.DIVERGED, onset(loss=[-1.0, *RISING[1:]]), "the loss rose from 1 to 1e+09 in the steps before"),
    (learning_rate.TOO_LARGE, onset(lr=FROM_1_TO_9), "it rose from 0.1 to 0.9 at step 6"),
    (learning_rate.TOO_LARGE, onset(update_ratio=0.5), "step 1 changed the median weight by 50% of its norm"),
    (learning_rate.TOO_LARGE, onset(update_ratio=0.001, lr=[0.1] * RECORDS), "against"),
    (learning_rate.LARGE_AT_ONCE, onset(lr=[2.0] * RECORDS, grad_l2_norm=1.0), "it is 2"),
    (learning_rate.LARGE_AT_ONCE, onset(lr=[2.0] * RECORDS, grad_l2_norm=jump(1, 90)), "against"),
    (learning_rate.GRADIENTS_GREW, onset(grad_l2_norm=jump(1, 90)), "the median gradient norm is 90 times that before"),
    (learning_rate.TOO_SMALL, onset(update_ratio=1e-8), "a step changes the median weight by 1e-08 of its norm"),
    (learning_rate.TOO_SMALL, onset(update_ratio=1e-3), "against"),
    (
        inputs.LARGE_INPUTS,
        onset(activation_mean=0.0, activation_var=jump(1, 1e6), weight_l2_norm=1.0),
        "the outputs of a, the first layer, are 1e+03 times as large as before, its weight is as before",
    ),
    (
        inputs.LARGE_INPUTS,
        onset(activation_mean=0.0, activation_var=jump(1, 1e6), weight_l2_norm=jump(1, 1e3)),
        "against",
    ),
    (
        inputs.OTHER_TARGETS,
        onset(activation_mean=0.0, activation_var=1.0, update_ratio=1e-3),
        "the outputs of the first layer have the size that they had before, "
        "and the step before changed the median weight by 0.001 of its norm",
    ),
    (inputs.OTHER_TARGETS, onset(activation_mean=0.0, activation_var=1.0, update_ratio=0.5), "against"),
    (
        inputs.OFF_CENTRE,
        onset(1, activation_mean=4.0, activation_var=4.0),
        "the mean of the outputs of a is 2 standard deviations from 0",
    ),
    (inputs.OFF_CENTRE, onset(1, activation_mean=0.1, activation_var=4.0), "against"),
    (inputs.WRONG_LABELS, onset(update_ratio=1e-3), "a step changes the median weight by 0.001 of its norm"),
    (
        weights.SET_ELSEWHERE,
        onset(weight_l2_norm=jump(1, 20, layers=(1,)), update_ratio=0.01),
        "the norm of the weight of b is 20 times that of the record before, where the update was 0.01 of it",
    ),
    (weights.SET_ELSEWHERE, onset(weight_l2_norm=jump(1, 20), update_ratio=25.0), "against"),
    (
        weights.SET_ELSEWHERE,
        onset(bias_mean=jump(0.1, -50, layers=(0,)), update_ratio=0.01),
        "the mean bias of a went from 0.1 to -50 between two records, where the update was 0.01 of the weight",
    ),
    (
        weights.DECAYED,
        onset(weight_l2_norm=jump(1, 0.01)),
        "from one record to the next the weights of all 2 layers shrank to 0.01 of their norms",
    ),
    (weights.DECAYED, onset(weight_l2_norm=jump(1, 0.01, layers=(0,))), "against"),
    (weights.ZEROS, onset(weight_l2_norm=[1.0, 0.0]), "the weight of b is 0 in every entry"),
    (weights.LARGE, onset(1, spectral_norm=[1.0, 30.0]), "against"),  # of two layers none is usual
    (signals.DEAD, onset(dead_fraction=[0.2, 1.0]), "all channels of b are dead"),
    (signals.DEAD, onset(dead_fraction=0.9), "against"),
    (
        signals.SCALED_LOSS,
        onset(loss=[1.0] * AT + [1000.0] * (RECORDS - AT), grad_l2_norm=jump(1, 1000)),
        "the loss grew 1e+03 times, the gradients of all layers 1e+03 times",
    ),
    (
        signals.SCALED_LOSS,
        onset(loss=[1.0] * AT + [1000.0] * (RECORDS - AT), grad_l2_norm=jump(1, 1000), activation_var=jump(1, 1e6)),
        "against",
    ),
    (signals.SATURATED, onset(saturated_fraction=[0.1, 0.9]), "90% of the outputs of b are beyond 3"),
    (signals.FAR_OUTPUTS, onset(activation_mean=30.0, activation_var=0.0), "the outputs of b have size 30"),
    (
        signals.NEGATIVE_BIAS,
        onset(bias_mean=-50.0, activation_mean=-51.0),
        "its mean bias is -50, the mean of its outputs -51",
    ),
    (signals.RECURRENCE, onset(spectral_norm=30.0), "against"),
    (
        signals.NO_INPUTS,
        onset(1, activation_var=[1.0, 0.0], weight_l2_norm=1.0),
        "the inputs of b are all 0: its outputs are its bias",
    ),
    (signals.SCALED_DOWN, onset(grad_l2_norm=1e-7), "the largest gradient norm is 1e-07"),
    (nonfinite.OF_WEIGHTS[1], onset(update_ratio=0.01), "the update before was finite, 0.01 of the weight"),
    (nonfinite.OF_WEIGHTS[0], onset(update_ratio=7.0), "the update before was 7 times the weight"),
    (
        nonfinite.OF_OUTPUTS[0],
        onset(activation_nonfinite=1.0, weight_nonfinite=0.0),
        "a is the first layer, and its weight is finite",
    ),
    (nonfinite.OF_OUTPUTS[1], onset(1, activation_nonfinite=[0.0, 1.0]), "the outputs of a before it are finite"),
    (nonfinite.OF_GRADIENTS[0], onset(loss=[np.nan] * RECORDS), "the loss of this step is nan"),
    (nonfinite.OF_GRADIENTS[1], onset(), "the loss of this step is finite, 1"),
    (
        nonfinite.OF_THE_LOSS[0],
        onset(None, activation_nonfinite=0.0),
        "the outputs of all 2 layers with recorded outputs are finite at this step",
    ),
]


@pytest.mark.parametrize(("cause", "where", "number"), CASES)
def test_the_number_that_speaks_for_a_cause_is_told(cause: Cause, where: Onset, number: str) -> None:
    assert told(cause, where) == number


ALL = [
    cause
    for module in (inputs, learning_rate, signals, weights)
    for cause in vars(module).values()
    if isinstance(cause, Cause)
]


@pytest.mark.parametrize("cause", [*ALL, *nonfinite.OF_WEIGHTS, *nonfinite.OF_OUTPUTS, *nonfinite.OF_THE_LOSS])
def test_a_store_without_the_columns_speaks_neither_for_nor_against(cause: Cause) -> None:
    nothing = Onset(RunRecords("r", pd.DataFrame(), pd.DataFrame()), AT, None)
    assert cause is signals.RECURRENCE or cause.sign(nothing) is None


@pytest.mark.parametrize(("update", "norm", "is_set"), [(2.0, 1e12, False), (0.1, 50.0, False), (0.1, 5e3, True)])
def test_updates_of_many_steps_add_up_to_more_than_their_sum(update: float, norm: float, is_set: bool) -> None:
    steps = np.repeat([0, 50], 2)
    columns = {"update_ratio": update, "weight_l2_norm": np.where(steps == 50, norm, 1.0)}
    table = pd.DataFrame({"step": steps, "layer": ["a", "b"] * 2, **columns})
    sign = weights.SET_ELSEWHERE.sign(Onset(RunRecords("r", table, pd.DataFrame()), 50, 0))
    assert sign is not None
    assert bool(sign.strength) is is_set


def saying(text: str, sign: Sign | None) -> Cause:
    return Cause(text, f"cure {text}", lambda _: sign)


def test_the_strongest_causes_are_told_and_those_ruled_out_are_not() -> None:
    some = [
        saying("weak", Sign(1, "a little")),
        saying("wrong", AGAINST),
        saying("strong", Sign(3, "9 times")),
        saying("unknown", None),
        saying("as strong", Sign(3, "7 times")),
    ]
    assert weighed(some, onset(), remedy="rest") == (
        "strong (9 times); or as strong (7 times)",
        "cure strong; or cure as strong",
    )
    assert weighed(some[:2], onset(), remedy="rest") == ("weak (a little)", "cure weak")


def test_causes_without_a_number_are_named_as_such() -> None:
    some = [saying("one", None), saying("wrong", AGAINST), saying("two", None)]
    assert weighed(some, onset(), remedy="rest") == ("one, or two (the store has no number that tells)", "rest")
    cause, remedy = weighed([saying("wrong", AGAINST)], onset(), remedy="rest")
    assert (cause, remedy) == ("none of the usual ones, by the numbers of the store (wrong)", "rest")


def test_the_columns_that_causes_read_are_in_the_schema() -> None:
    known = {table: {column.name for column in columns} for table, columns in _columns().items()}
    assert all(set(columns) <= known[table] for table, columns in READS.items())


def _columns() -> dict[str, list[schema.Column]]:
    from probes.metrics import METRICS

    of_layers = [column for metric in METRICS.values() for column in metric.columns]
    return {schema.LAYERS: of_layers, schema.STEPS: list(schema.STEPS_COLUMNS)}
