"""Finding "no update": a layer has a gradient, and the optimizer does not move its weight."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from analysis.findings.finding import GRAVE, Evidence, Finding
from analysis.findings.history import lasting
from analysis.findings.run_records import RunRecords
from analysis.findings.thresholds import Thresholds
from analysis.findings.update_sizes import COARSE
from probes.schema import LAYERS

_KIND, _UPDATE, _GRADIENT, _NORM = "no update", "update_ratio", "grad_l2_norm", "weight_l2_norm"
_GROUP, _EPSILON, _REQUIRES = "optimizer_group", "weight_epsilon", "requires_grad"
_RECORDS = 2
_MOVES = 1e-6  # update ratio of the other layers that float32 does not round to 0
_COMPARABLE = 1e-4  # share in the median gradient of the other layers above which an update of 0 is no rounding error


def layer_not_updated(run: RunRecords, limits: Thresholds) -> Iterator[Evidence]:  # noqa: ARG001
    """Yield the layers whose update is exactly 0 while others move; the number is the layer's gradient norm.

    A weight that requires no gradient is frozen on purpose, even if it holds a gradient of an earlier training.
    """
    if (records := run.take(_UPDATE, _GRADIENT)) is None:
        return
    updates, gradients = records[_UPDATE], records[_GRADIENT]
    still = (updates == 0) | _zero_weight_that_stays(run, records.steps, updates)
    moves = np.isfinite(updates) & (updates > 0)
    typical_update = _median(updates, where=moves)
    typical_gradient = _median(gradients, where=moves)
    stuck = (
        still
        & ~_frozen(run, records.steps, updates)
        & (gradients > _COMPARABLE * typical_gradient)
        & (typical_update > _MOVES)
    )
    where = lasting(stuck, records=_RECORDS)
    yield Evidence(
        where,
        records.steps,
        run.layers,
        gradients,
        0.0,
        _UPDATE,
        GRAVE,
        "the weight has a gradient of norm {value:.3g} and is not updated, while other layers are",
        _cause(run, where),
        "make the optimizer after the model is final, from model.parameters(); or requires_grad_(False) if it is meant",
    )


def _cause(run: RunRecords, where: np.ndarray) -> str:
    """Return the likely cause at the layer that is named; all causes where the store does not tell them apart."""
    homeless = "the weight is in no group of the optimizer (a layer made or replaced after it)"
    without_rate = "the optimizer's group of the weight has the rate 0"
    coarse = "its type (float16, bfloat16) is too coarse for the update"
    groups, epsilons = run.whole(_GROUP), run.whole(_EPSILON)
    if groups is None or not where.any():
        return f"{homeless}; or {without_rate}; or {coarse}"
    layer = int(where[where.any(axis=1).argmax()].argmax())
    if np.isnan(groups[:, layer]).all():
        return homeless
    is_coarse = epsilons is not None and np.nanmax(epsilons[:, layer], initial=0.0) > COARSE
    return f"{without_rate}; or {coarse}" if is_coarse else without_rate


def _frozen(run: RunRecords, steps: np.ndarray, updates: np.ndarray) -> np.ndarray:
    """Return where a weight requires no gradient; nowhere if the store has no such column."""
    required = run.at(_REQUIRES, steps)
    return np.zeros(updates.shape, dtype=bool) if required is None else required == 0


def _zero_weight_that_stays(run: RunRecords, steps: np.ndarray, updates: np.ndarray) -> np.ndarray:
    """Return where a weight of zeros is not moved: its update ratio is 0 / 0, NaN; if moved, it would be infinite."""
    norms = run.at(_NORM, steps)
    return np.zeros(updates.shape, dtype=bool) if norms is None else np.isnan(updates) & (norms == 0)


def _median(values: np.ndarray, *, where: np.ndarray) -> np.ndarray:
    """Return the median of each record over the layers where a mask holds, ``(records, 1)``; NaN without any."""
    kept = np.ma.masked_where(~where, values)
    return np.ma.filled(np.ma.median(kept, axis=1), np.nan)[:, None]


FINDING = Finding(
    _KIND,
    {LAYERS: (_UPDATE, _GRADIENT, _NORM, _GROUP, _EPSILON, _REQUIRES)},
    layer_not_updated,
    fewest=_RECORDS,
)
