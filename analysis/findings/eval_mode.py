"""Finding "eval mode": batch norm uses its running statistics in training, or no pass is a training pass."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from analysis.findings.finding import NOTE, WARNING, Evidence, Finding
from analysis.findings.history import lasting
from analysis.findings.run_records import RunRecords
from analysis.findings.thresholds import Thresholds
from probes.schema import LAYERS

_KIND = "eval mode"
_MEAN, _VARIANCE, _OUTPUTS = "activation_mean", "activation_var", "activation_nonfinite"
_SCALE, _SCALES, _SHIFT, _SHIFTS = "weight_mean", "weight_var", "bias_mean", "bias_var"
_GRADIENT, _TRAINING = "grad_l2_norm", "training"
_BATCH_NORM = re.compile(r"(Sync|Lazy)?BatchNorm[123]?d?")
_RECORDS = 2
_SEEN = 5  # records with gradients and without a single activation
_SHIFTED, _WIDER = 0.1, 1.2  # beyond any rounding in bfloat16
_NARROWER = 0.7  # its own batch leaves less variance only in constant channels, and if its variance is near epsilon
_FAR_FROM_EPSILON = 1e-3

_WHOLE = "weights are trained while the whole network is in eval mode"
_WHOLE_CAUSE = "model.eval() without model.train() after it: dropout does nothing, batch norm uses running statistics"
_WHOLE_REMEDY = "call model.train() before the loop, and after each evaluation"


def eval_mode(run: RunRecords, limits: Thresholds) -> Iterator[Evidence]:  # noqa: ARG001
    """Yield batch norms in eval mode, and networks that are in eval mode as a whole while their weights are trained.

    If the store has no modes, a network with gradients and without a single activation counts as in eval mode. So does
    a batch norm whose output cannot have been normalised by its own batch. In train mode the output has the mean of the
    shifts, ``mean(beta)``, and the variance ``mean(gamma^2) + var(beta)``, less where channels are constant. The number
    is then the distance from that mean in standard deviations. A batch norm whose weight has no gradient is frozen on
    purpose, so the finding is a note.
    """
    if run.whole(_TRAINING) is None:
        yield from _batch_norms(run)
        yield from _without_activations(run)
    else:
        yield from _said_by_batch_norms(run)
        yield from _said_by_all(run)


def _said_by_batch_norms(run: RunRecords) -> Iterator[Evidence]:
    records = run.take(_TRAINING)
    if records is None:
        return
    normalises = np.array([bool(_BATCH_NORM.fullmatch(kind)) for kind in run.types], dtype=bool)
    modes = records[_TRAINING]
    others_train = (modes == 1).any(axis=1, keepdims=True)  # else the whole network is in eval mode, another finding
    lasts = lasting((modes == 0) & normalises & others_train, records=_RECORDS)
    frozen = ~_trained_so_far(run, records.steps)
    for severity, where in ((WARNING, lasts & ~frozen), (NOTE, lasts & frozen)):
        yield Evidence(
            where,
            records.steps,
            run.layers,
            modes,
            0.0,
            _TRAINING,
            severity,
            "the batch norm is in eval mode while the network is trained: it normalises by running statistics",
            "its own eval() call, or an evaluation of this part without train() after it",
            "call model.train() before each epoch; nothing if frozen statistics are meant",
        )


def _batch_norms(run: RunRecords) -> Iterator[Evidence]:
    records = run.take(_MEAN, _VARIANCE, _SCALE, _SCALES, _SHIFT, _SHIFTS)
    if records is None:
        return
    normalises = np.array([bool(_BATCH_NORM.fullmatch(kind)) for kind in run.types])
    widest = records[_SCALE] ** 2 + records[_SCALES] + records[_SHIFTS]
    with np.errstate(divide="ignore", invalid="ignore"):
        distance = np.abs(records[_MEAN] - records[_SHIFT]) / np.sqrt(widest)
        ratio = records[_VARIANCE] / widest
        given = np.zeros(ratio.shape, dtype=bool)
        given[:, 1:] = records[_VARIANCE][:, :-1] > _FAR_FROM_EPSILON  # variance of the layer before
        other = normalises & ((distance > _SHIFTED) | (ratio > _WIDER) | ((ratio < _NARROWER) & given))
    lasts = lasting(other, records=_RECORDS)
    frozen = ~_trained_so_far(run, records.steps)
    for severity, where in ((WARNING, lasts & ~frozen), (NOTE, lasts & frozen)):
        yield Evidence(
            where,
            records.steps,
            run.layers,
            distance,
            _SHIFTED,
            _MEAN,
            severity,
            "the output has not the mean and variance that its own batch would give it (its mean is off by {value:.2g} "
            "standard deviations): it is normalised by running statistics",
            "the module is in eval mode during training, as after an evaluation without model.train()",
            "call model.train() before each epoch; nothing if frozen statistics are meant",
        )


def _trained_so_far(run: RunRecords, steps: np.ndarray) -> np.ndarray:
    """Return where a layer has had a gradient at some record so far; everywhere if gradients are not recorded."""
    gradients = run.whole(_GRADIENT)
    if gradients is None:
        return np.ones((len(steps), len(run.layers)), dtype=bool)
    return np.asarray(np.logical_or.accumulate(~np.isnan(gradients), axis=0)[np.isin(run.steps, steps)])


def _without_activations(run: RunRecords) -> Iterator[Evidence]:
    gradients, outputs = run.take(_GRADIENT), run.whole(_OUTPUTS)
    if gradients is None or outputs is None:
        return
    norms = gradients[_GRADIENT]
    seen = np.logical_or.accumulate(~np.isnan(outputs).all(axis=1))[np.isin(run.steps, gradients.steps)]
    if len(norms) < _SEEN or seen[:_SEEN].any():
        return
    yield Evidence(
        ~np.isnan(norms) & ~seen[:, None],
        gradients.steps,
        run.layers,
        norms,
        0.0,
        _OUTPUTS,
        WARNING,
        _WHOLE,
        _WHOLE_CAUSE,
        _WHOLE_REMEDY,
    )


def _said_by_all(run: RunRecords) -> Iterator[Evidence]:
    records = run.take(_TRAINING, _GRADIENT)
    if records is None:
        return
    modes, trained = records[_TRAINING], ~np.isnan(records[_GRADIENT])
    evaluates = ~(modes == 1).any(axis=1, keepdims=True) & (modes == 0) & trained
    yield Evidence(
        lasting(evaluates, records=_RECORDS),
        records.steps,
        run.layers,
        modes,
        0.0,
        _TRAINING,
        WARNING,
        _WHOLE,
        _WHOLE_CAUSE,
        _WHOLE_REMEDY,
    )


FINDING = Finding(
    _KIND,
    {LAYERS: (_MEAN, _VARIANCE, _OUTPUTS, _SCALE, _SCALES, _SHIFT, _SHIFTS, _GRADIENT, _TRAINING)},
    eval_mode,
    fewest=_RECORDS,
)
