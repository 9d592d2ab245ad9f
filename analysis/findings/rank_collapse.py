"""Finding "rank collapse": a weight matrix loses its directions, or starts with only one."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from analysis.findings.causes.learning_rate import TOO_LARGE
from analysis.findings.causes.weighing import Cause
from analysis.findings.causes.weights import DECAYED, SET_ELSEWHERE
from analysis.findings.finding import WARNING, Evidence, Finding
from analysis.findings.history import first_measured, largest_before
from analysis.findings.run_records import RunRecords
from analysis.findings.thresholds import Thresholds
from probes.schema import LAYERS

_KIND, _COLUMN = "rank collapse", "effective_rank"
_LARGEST, _MEAN, _NORM = "spectral_norm", "singular_value_mean", "weight_l2_norm"
_ENOUGH = 4.0  # fewest directions that a matrix must have had, or have room for
_ONE = 1.001


def rank_collapse(run: RunRecords, limits: Thresholds) -> Iterator[Evidence]:
    """Yield the layers whose effective rank is a small part of its largest so far, and those that start with rank 1.

    The number is the effective rank. In a matrix of r singular values and rank 1, the spectral norm is r times the mean
    singular value, so that the largest possible rank is known. A weight that starts at 0 grows from rank 1 and is left
    out.
    """
    if (records := run.take(_COLUMN)) is None:
        return
    rank = records[_COLUMN]
    before = largest_before(rank)
    lost = (before >= _ENOUGH) & (rank < limits.rank_collapse * before)
    kinds: tuple[tuple[np.ndarray, str, str | tuple[Cause, ...], str], ...] = (
        (
            lost,
            "the effective rank has fallen to {value:.2f}",
            (SET_ELSEWHERE, TOO_LARGE, DECAYED),
            "lower the learning rate or the weight decay; add normalisation",
        ),
        (
            _one_from_the_start(run, records.steps, rank),
            "the weight has effective rank {value:.2f} from the start: all its rows are multiples of one",
            "a constant initialisation: all units of the layer get the same gradient and stay alike",
            "initialise at random (Glorot, He)",
        ),
    )
    for where, message, cause, remedy in kinds:
        yield Evidence(
            where,
            records.steps,
            run.layers,
            rank,
            limits.rank_collapse,
            _COLUMN,
            WARNING,
            message,
            cause,
            remedy,
        )


def _one_from_the_start(run: RunRecords, steps: np.ndarray, rank: np.ndarray) -> np.ndarray:
    largest, mean = run.at(_LARGEST, steps), run.at(_MEAN, steps)
    if largest is None or mean is None:
        return np.zeros(rank.shape, dtype=bool)
    with np.errstate(divide="ignore", invalid="ignore"):
        room = largest / mean
    norms = run.whole(_NORM)
    random = np.ones(rank.shape[1], dtype=bool) if norms is None else first_measured(norms) > 0
    starts = (first_measured(rank) < _ONE) & (np.nan_to_num(first_measured(room)) >= _ENOUGH) & random
    return starts & (rank < _ONE)


FINDING = Finding(_KIND, {LAYERS: (_COLUMN, _LARGEST, _MEAN, _NORM)}, rank_collapse)
