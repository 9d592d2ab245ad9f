"""Finding "exploding": the gradient grows by a large factor, during training or from the output to the input."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from analysis.findings.causes.inputs import LARGE_INPUTS, OTHER_TARGETS
from analysis.findings.causes.learning_rate import TOO_LARGE
from analysis.findings.causes.signals import RECURRENCE, SCALED_LOSS
from analysis.findings.causes.weights import SET_ELSEWHERE
from analysis.findings.finding import GRAVE, Evidence, Finding
from analysis.findings.history import lasting
from analysis.findings.run_records import RunRecords
from analysis.findings.thresholds import Thresholds
from probes.schema import LAYERS

_KIND, _COLUMN = "exploding", "grad_l2_norm"
_PAST = 3  # records that are enough to compare with
_FIRST = 5
_FEWEST_LAYERS = 8  # fewest layers whose first and last quarters are compared
_REMEDY = "clip gradients by norm, lower the learning rate, warm it up, or normalise layers"


def exploding_gradient(run: RunRecords, limits: Thresholds) -> Iterator[Evidence]:
    """Yield the layers whose gradient norm explodes; the number is the factor.

    During training the network's largest gradient norm is compared with the largest of all earlier records, and with
    its median over the first five. The network is compared, because a layer that starts with a gradient of 0, as behind
    zero-initialised weights, is no explosion. The layers found are then those that grew by the factor themselves. By
    depth the first quarter of the layers is compared with the last quarter at the same record.
    """
    if (records := run.take(_COLUMN)) is None:
        return
    norms = records[_COLUMN]
    where, growth = _in_time(norms, limits)
    yield Evidence(
        where,
        records.steps,
        run.layers,
        growth,
        limits.exploded,
        _COLUMN,
        GRAVE,
        "the gradient norm is {value:.3g} times that of earlier records",
        (TOO_LARGE, SCALED_LOSS, LARGE_INPUTS, SET_ELSEWHERE, RECURRENCE, OTHER_TARGETS),
        _REMEDY,
    )
    where, ratio = _by_depth(run, norms, limits)
    yield Evidence(
        where,
        records.steps,
        run.layers,
        ratio,
        limits.exploded_by_depth,
        _COLUMN,
        GRAVE,
        "the gradient norm is {value:.3g} times that of the last layers: each layer amplifies it on the way back",
        "initial weights that are too large for the depth, without normalisation or skip connections",
        "initialise by fan-in (Glorot, He), normalise, or add skip connections; clipping by norm is no cure here",
    )


def _in_time(norms: np.ndarray, limits: Thresholds) -> tuple[np.ndarray, np.ndarray]:
    """Return where a layer's norm has exploded, and the factor over the largest norm before the explosion."""
    largest = np.fmax.reduce(norms, axis=1)
    exploded, before = np.zeros(len(norms), dtype=bool), np.full(norms.shape, np.nan)
    reference, of_layers, seen = np.nan, np.full(norms.shape[1], np.nan), 0
    early = float(np.median(largest[:_FIRST])) if len(largest) >= _FIRST else np.nan
    for record, value in enumerate(largest):
        before[record] = of_layers
        jumps = seen >= _PAST and value > limits.exploded * reference
        grows = record >= _FIRST and value > limits.grown * early
        exploded[record] = (jumps or grows) and np.isfinite(value)
        if not exploded[record] and np.isfinite(value) and value > 0:
            reference, of_layers, seen = np.fmax(reference, value), np.fmax(of_layers, norms[record]), seen + 1
    with np.errstate(divide="ignore", invalid="ignore"):
        growth = norms / before
    # If the growth is slow, no layer need stand out against its earlier records. Then the largest layer is named.
    itself = exploded[:, None] & np.isfinite(growth) & (growth > limits.exploded)
    largest_layer = exploded[:, None] & (norms == largest[:, None])
    return np.where(itself.any(axis=1, keepdims=True), itself, largest_layer), growth


def _by_depth(run: RunRecords, norms: np.ndarray, limits: Thresholds) -> tuple[np.ndarray, np.ndarray]:
    """Return where first layers' gradients far exceed the last layers', and each layer's ratio to the last quarter."""
    where, ratio = np.zeros(norms.shape, dtype=bool), np.full(norms.shape, np.nan)
    for places in run.networks():
        measured = places[(norms[:, places] > 0).any(axis=0)]
        quarter = len(measured) // 4
        if len(measured) < _FEWEST_LAYERS:
            continue
        with np.errstate(divide="ignore", invalid="ignore"):
            last = np.median(norms[:, measured[-quarter:]], axis=1, keepdims=True)
            ratio[:, measured] = norms[:, measured] / last
        first = np.median(ratio[:, measured[:quarter]], axis=1, keepdims=True)
        large = np.isfinite(ratio) & (ratio > limits.exploded_by_depth)
        where[:, measured] = (large & lasting(first > limits.exploded_by_depth, records=_PAST))[:, measured]
    return where, ratio


FINDING = Finding(_KIND, {LAYERS: (_COLUMN,)}, exploding_gradient, fewest=_PAST)
