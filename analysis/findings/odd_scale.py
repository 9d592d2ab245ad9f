"""Finding "odd scale": the initial weight of a layer is many times larger than those of other layers of its type."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from analysis.findings.finding import WARNING, Evidence, Finding
from analysis.findings.history import first_measured
from analysis.findings.run_records import RunRecords
from analysis.findings.thresholds import Thresholds
from probes.schema import LAYERS

_KIND, _COLUMN = "odd scale", "weight_rms_norm"
_PEERS = 4  # fewest layers of the same type that a layer is compared with
_FEW = 4  # at most one in so many layers of a type is odd; if more are, the type has two sorts of layers


def odd_scale(run: RunRecords, limits: Thresholds) -> Iterator[Evidence]:
    """Yield the layers whose weight was out of scale from the first record on; the number is the multiple.

    The scale is ``sqrt(in / out) sigma_1``: by how much the weight stretches the root mean square of its input. It does
    not depend on the widths of the layer, so that layers of one type are alike at the start whatever their shapes. The
    multiple is that of the median layer of the type. Weights that grow later are the finding "spectral explosion".
    """
    if (records := run.take(_COLUMN)) is None:
        return
    scales = records[_COLUMN]
    multiples = scales / _usual(first_measured(scales), run.types)
    odd = multiples > limits.odd_scale
    yield Evidence(
        odd & odd[0] & ~_common(odd[0], run.types),
        records.steps,
        run.layers,
        multiples,
        limits.odd_scale,
        _COLUMN,
        WARNING,
        "the weight stretches its input {value:.3g} times as much as the median layer of its type does",
        "an initialisation of another scale, such as a standard deviation of sqrt(fan-in) in place of 1 / sqrt(fan-in)",
        "initialise it as the others (Glorot, He); nothing if the weight comes from a trained network",
    )


def _usual(first: np.ndarray, types: tuple[str, ...]) -> np.ndarray:
    """Return for each layer the median of the first values of its type, ``(layers,)``; NaN with too few layers."""
    usual = np.full(len(types), np.nan)
    for places in _by_type(types):
        known = first[places][first[places] > 0]
        if len(known) > _PEERS:
            usual[places] = np.median(known)
    return usual


def _common(odd: np.ndarray, types: tuple[str, ...]) -> np.ndarray:
    """Return the layers of types of which many layers are odd, ``(layers,)``."""
    common = np.zeros(len(types), dtype=bool)
    for places in _by_type(types):
        common[places] = odd[places].mean() > 1 / _FEW
    return common


def _by_type(types: tuple[str, ...]) -> list[np.ndarray]:
    kinds = np.array(types)
    return [np.flatnonzero(kinds == kind) for kind in dict.fromkeys(types)]


FINDING = Finding(_KIND, {LAYERS: (_COLUMN,)}, odd_scale)
