"""Finding "replaced weight": a weight changed by far more than the optimizer's steps between two records allow."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from analysis.findings.finding import NOTE, WARNING, Evidence, Finding
from analysis.findings.run_records import RunRecords
from analysis.findings.thresholds import Thresholds
from probes.schema import LAYERS, STEPS

_KIND, _NORM, _UPDATE, _RAW, _LOSS = "replaced weight", "weight_l2_norm", "update_ratio", "raw_weight_var", "loss"
_LEAST = 0.1  # smallest relative change of the norm: rounding and small steps of a coarse type stay below
_LOSSES = 5  # logged losses before and after the jump that are compared


def replaced_weight(run: RunRecords, limits: Thresholds) -> Iterator[Evidence]:
    """Yield the layers whose norm jumps between two records; the number is the jump over the change that updates allow.

    The jump is the relative change of the norm. Over ``k`` steps of at most ``u`` updates allow ``(1 + u)^k - 1``. For
    one step, ``u`` is the ``update_ratio`` of the record before. Over several steps the rate may rise, so ``u`` is the
    larger ratio of both records. A reparametrised weight is left out, because its norm may change without an update.
    The finding is a warning if the loss is higher after the jump. Otherwise it is a note, because weights that are
    averaged or clipped on purpose are replaced too.
    """
    if (records := run.take(_NORM, _UPDATE)) is None:
        return
    norms, updates = records[_NORM], records[_UPDATE]
    if (raw := run.at(_RAW, records.steps)) is not None:
        norms = np.where(np.isnan(raw).all(axis=0), norms, np.nan)
    jumps, multiples = np.full(norms.shape, np.nan), np.full(norms.shape, np.nan)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        jumps[1:] = np.abs(norms[1:] / norms[:-1] - 1)
        taken = np.diff(records.steps)[:, None]
        longest = np.where(taken == 1, updates[:-1], np.fmax(updates[1:], updates[:-1]))
        multiples[1:] = jumps[1:] / ((1 + longest) ** taken - 1)
    replaced = (multiples >= limits.replaced) & np.isfinite(multiples) & (jumps >= _LEAST)
    worse = np.zeros((len(records.steps), 1), dtype=bool)
    for record in np.flatnonzero(replaced.any(axis=1)):
        worse[record] = _loss_rose(run, records.steps[record - 1], records.steps[record])
    for severity, where in ((WARNING, replaced & worse), (NOTE, replaced & ~worse)):
        yield Evidence(
            where,
            records.steps,
            run.layers,
            multiples,
            limits.replaced,
            _NORM,
            severity,
            "since the record before, the norm of the weight has changed {value:.3g} times as much as the optimizer's "
            "steps allow",
            "a change outside the optimizer: a checkpoint that was loaded in part, an initialisation, an assignment, "
            "or weights that are clipped or averaged",
            "look at what load_state_dict(strict=False) returns, and find what else writes to the weight at this step",
        )


def _loss_rose(run: RunRecords, first: int, last: int) -> bool:
    """Return whether the median loss after a jump is above the last losses before it, or not finite."""
    if (logged := run.logged(_LOSS)) is None:
        return False
    steps, losses = logged
    before, after = losses[steps <= first][-_LOSSES:], losses[steps >= last][:_LOSSES]
    return bool(before.size and after.size and not np.median(after) <= before.max())


FINDING = Finding(_KIND, {LAYERS: (_NORM, _UPDATE, _RAW), STEPS: (_LOSS,)}, replaced_weight, fewest=2)
