"""Finding "vanishing": the gradient hardly reaches a layer, or fades away during training."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from analysis.findings.causes.signals import DEPTH, FAR_OUTPUTS, SATURATED, SHUT_GATES
from analysis.findings.finding import GRAVE, Evidence, Finding
from analysis.findings.history import first_measured, largest_before, lasting
from analysis.findings.run_records import RunRecords
from analysis.findings.thresholds import Thresholds
from probes.schema import LAYERS, STEPS

_KIND, _COLUMN, _LOSS = "vanishing", "grad_l2_norm", "loss"
_RECORDS = 3  # in a row: zero-initialised weights let no gradient through at first
_LEARNED = 0.5  # share of the first loss below which small gradients are convergence


def vanishing_gradient(run: RunRecords, limits: Thresholds) -> Iterator[Evidence]:
    """Yield the layers whose gradient vanishes; the number is the share in the network's largest gradient norm.

    A gradient vanishes by depth if a layer and all layers before it have a tiny share in the largest gradient norm of
    the same record. It fades if its share falls far below its largest share so far, or if the largest norm itself falls
    and the loss does not. Shares, and not norms, are compared: in a training that converges all gradients fall.
    """
    if (records := run.take(_COLUMN)) is None:
        return
    norms = records[_COLUMN]
    share, reached = _shares(run, norms)
    starved = (reached < limits.vanished) & ((share > 0) & (reached < limits.vanished)).any(axis=1, keepdims=True)
    faded = (share > 0) & (share < limits.faded * largest_before(share))
    yield Evidence(
        lasting(starved | faded, records=_RECORDS),
        records.steps,
        run.layers,
        share,
        limits.vanished,
        _COLUMN,
        GRAVE,
        "the gradient norm is {value:.2g} of the network's largest: this layer does not learn",
        (SHUT_GATES, SATURATED, DEPTH),
        "take ReLU or GELU, initialise by fan-in (Glorot, He), normalise, or add skip connections",
    )
    yield _network(run, records.steps, norms, limits)


def _shares(run: RunRecords, norms: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return each layer's share in its network's largest norm, and the largest share of the layer and all before it."""
    share, reached = np.full(norms.shape, np.nan), np.full(norms.shape, np.nan)
    for places in run.networks():
        with np.errstate(divide="ignore", invalid="ignore"):
            share[:, places] = norms[:, places] / np.fmax.reduce(norms[:, places], axis=1, keepdims=True)
        reached[:, places] = np.fmax.accumulate(share[:, places], axis=1)
    reached[np.isnan(share)] = np.nan
    return share, reached


def _network(run: RunRecords, steps: np.ndarray, norms: np.ndarray, limits: Thresholds) -> Evidence:
    """Return the records at which all gradients have faded and the loss is not small."""
    largest = np.fmax.reduce(norms, axis=1)[:, None]
    losses = run.logged_at(_LOSS, steps)[:, None]
    high = losses > _LEARNED * first_measured(losses)
    faint = (largest > 0) & (largest < limits.faded * largest_before(largest)) & high
    with np.errstate(divide="ignore", invalid="ignore"):
        fall = norms / largest_before(largest)
    return Evidence(
        lasting(faint, records=_RECORDS) & (norms > 0),
        steps,
        run.layers,
        fall,
        limits.faded,
        _COLUMN,
        GRAVE,
        "all gradients have faded to {value:.2g} of the largest before, and the loss has not fallen",
        (FAR_OUTPUTS,),
        "use a loss on logits (cross_entropy, binary_cross_entropy_with_logits), or lower the learning rate",
    )


FINDING = Finding(_KIND, {LAYERS: (_COLUMN,), STEPS: (_LOSS,)}, vanishing_gradient, fewest=_RECORDS)
