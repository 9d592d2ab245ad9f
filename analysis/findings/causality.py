"""Causality: which finding of a run explains which others, so that the fault is reported first, not a symptom.

A finding explains another if three things hold:

- **Its kind can lead to the other's.** Large updates make gradients explode; dead units leave the layers before them
  without gradient. :data:`LEADS_TO` holds these mechanisms.
- **It began before.** Two findings of one record are compared by the stage of their column in a training step: weight,
  activation, loss, gradient, update.
- **It still held when the other began**, or a few records earlier.

A note may be intended. It explains a graver finding only if both begin at the same record.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from analysis.findings.finding import (
    CAUSE,
    COLUMN,
    EXPLAINED_BY,
    FROM_STEP,
    KIND,
    NOTE,
    REMEDY,
    SEVERITIES,
    SEVERITY,
    TO_STEP,
)
from analysis.findings.run_records import RunRecords
from probes.schema import LAYER, RUN

_REACH = 5  # most records between the end of a cause and the beginning of its consequence
_WEIGHT, _OUTPUT, _LOSS, _GRADIENT, _UPDATE = range(5)  # in the order of a training step
_STAGES = 5
_STAGE_OF = (  # stages of columns, by the prefixes of their names; all other columns are of weights
    (("grad_", "activation_grad_"), _GRADIENT),
    (("activation_", "dead_", "saturated_", "training"), _OUTPUT),
    (("update_",), _UPDATE),
    (("loss", "lr"), _LOSS),
)

_NOT_TRAINED = ("no update", "frozen", "detached", "no gradient", "unused", "eval mode")
_SHRUNK = ("weight collapse", "rank collapse")
_GROWN = (
    "odd scale",
    "rate jump",
    "accumulated gradient",
    "attention logits",
    "spectral explosion",
    "overflow",
    "loss spike",
    "divergence",
    "exploding",
    "large update",
)
_BLOCKED = ("dead units", "saturation")
_STARVED = ("vanishing", "zero gradient", "no training", "small update", "plateau")

_SET_BY_HAND = ("accumulated gradient", "odd scale", "rate jump", "replaced weight")  # no other finding leads to these
_OF_GROWN = frozenset({*_GROWN, *_BLOCKED, *_STARVED, "drift", "rank collapse", "NaN"}) - {*_SET_BY_HAND}
_OF_SHRUNK = frozenset({*_BLOCKED, *_STARVED, "large update", "drift", "rank collapse"})

LEADS_TO: dict[str, frozenset[str]] = {
    **dict.fromkeys(_NOT_TRAINED, frozenset({"plateau"})),
    **dict.fromkeys(_SHRUNK, _OF_SHRUNK),
    **dict.fromkeys(_GROWN, _OF_GROWN),
    **dict.fromkeys((*_BLOCKED, *_STARVED), frozenset(_STARVED)),
    "replaced weight": _OF_GROWN | _OF_SHRUNK | frozenset(_SHRUNK),
    "rounded updates": frozenset({"small update", "plateau"}),
    "drift": frozenset({*_BLOCKED, "spectral explosion"}),  # slow, so it causes no sudden failure
    "NaN": frozenset({*_OF_GROWN, *_OF_SHRUNK}),
}
"""The kinds that a kind can lead to. A kind without an entry leads to no other kind. Every kind can lead to itself."""


@dataclass(frozen=True)
class Explained:
    """A finding that no other finding explains, and the findings that it explains.

    Attributes:
        root: The row of :meth:`analysis.findings.finding.Evidence.row`.
        onset: Record and place in the step at which it began, as one number.
        consequences: Rows of the findings that it explains, ordered by onset.
    """

    root: dict[str, Any]
    onset: float
    consequences: list[dict[str, Any]] = field(default_factory=list)

    def follow(self) -> list[dict[str, Any]]:
        """Return the rows of the consequences, each with the root as its cause."""
        root = self.root
        where = f" in layer {root[LAYER]}" if root[LAYER] else ""
        cause = f"it follows from the finding {root[KIND]}{where}, which begins at step {root[FROM_STEP]:,}"
        told = {EXPLAINED_BY: root[KIND], CAUSE: cause, REMEDY: root[REMEDY]}
        return [{**row, **told} for row in self.consequences]

    @property
    def gravity(self) -> int:
        """Index in ``SEVERITIES`` of the gravest finding of the group."""
        return min(SEVERITIES.index(row[SEVERITY]) for row in (self.root, *self.consequences))


def explained(rows: Sequence[dict[str, Any]], run: RunRecords) -> list[Explained]:
    """Return the findings of one run, each with those that it explains, directly or by way of others.

    Of several explanations the earliest counts.

    Args:
        rows: Rows of the table of findings, all of one run, in the order of ``KINDS``.
        run: The records of the run.
    """
    trees: list[Explained] = []
    seen: list[tuple[dict[str, Any], Explained]] = []
    for row in sorted(rows, key=lambda row: _order(row, run)):
        tree = next((tree for cause, tree in seen if _explains(cause, row, run)), None)
        if tree is None:
            tree = Explained(row, _onset(row, run))
            trees.append(tree)
        else:
            tree.consequences.append(row)
        seen.append((row, tree))
    return trees


def _order(row: dict[str, Any], run: RunRecords) -> tuple[float, int, int, int]:
    """Return the key to sort findings by: onset, step, severity, forward order; findings of the whole run come last."""
    return _onset(row, run), row[FROM_STEP], SEVERITIES.index(row[SEVERITY]), _depth(row[LAYER], run)


def _depth(layer: str, run: RunRecords) -> int:
    """Return the index of a layer in forward order; for a module with layers inside, the index of the first of them."""
    inside = [place for place, name in enumerate(run.layers) if layer and f"{name}.".startswith(f"{layer}.")]
    return min(inside, default=len(run.layers))


def _explains(cause: dict[str, Any], row: dict[str, Any], run: RunRecords) -> bool:
    """Return whether a finding explains another finding that does not stand before it in the order of onsets."""
    if row[KIND] != cause[KIND] and row[KIND] not in LEADS_TO.get(cause[KIND], ()):
        return False
    begins = _record(row[FROM_STEP], run)
    if cause[SEVERITY] == NOTE != row[SEVERITY] and begins != _record(cause[FROM_STEP], run):
        return False
    return begins <= _record(cause[TO_STEP], run) + _REACH


def _onset(row: dict[str, Any], run: RunRecords) -> float:
    """Return record and place in the step at which a finding began, as one number."""
    return _STAGES * _record(row[FROM_STEP], run) + _stage(row, run)


def _record(step: int, run: RunRecords) -> int:
    """Return the index of the record of a step, or of the next record."""
    return int(np.searchsorted(run.steps, step))


def _stage(row: dict[str, Any], run: RunRecords) -> float:
    """Return the stage of a training step at which the number of a finding is measured."""
    kind, column = row[KIND], row[COLUMN]
    if kind == "plateau":  # no event: a plateau is there from the start, whatever comes later
        return _STAGES - 0.5
    if kind == "weight collapse":  # caused by the update of the record before, which is as large as the weight
        return _UPDATE - _STAGES - 0.5
    if column == "grad_nonfinite" and not _outputs_at(row[FROM_STEP], run):  # the outputs may have been NaN first
        return _OUTPUT
    return next((stage for prefixes, stage in _STAGE_OF if column.startswith(prefixes)), _WEIGHT)


def _outputs_at(step: int, run: RunRecords) -> bool:
    outputs = run.whole("activation_nonfinite")
    return outputs is not None and not bool(np.isnan(outputs[run.steps == step]).all())


def groups(rows: Sequence[dict[str, Any]]) -> list[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Return rows of the table of findings as pairs, in its order: a finding, and the findings that follow from it.

    A row whose explanation is not among the rows stands by itself.
    """
    found: list[tuple[dict[str, Any], list[dict[str, Any]]]] = []
    for row in rows:
        above = found[-1][0] if found else None
        if above is not None and (row[EXPLAINED_BY], row[RUN]) == (above[KIND], above[RUN]):
            found[-1][1].append(row)
        else:
            found.append((row, []))
    return found
