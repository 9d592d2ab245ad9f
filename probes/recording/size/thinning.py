"""Thinning: a run with a limit on its bytes records more and more rarely."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from probes.gaps import Gaps
from probes.schema import SPLIT, STEP, TRAIN

_LIMIT = "the run is to stay below max_bytes"
DENSE = 1 / 2  # share of the bytes in which all records are kept
SHARE = 1 / 32  # share of the bytes for each doubling of the distance
FILLED = 15 / 16  # share of max_bytes: the rest is for the other half of the log, see Recorder.nbytes
LEAST_BYTES = 1_000_000  # the files of a run with a few records take a tenth of this


class Thinning:
    """Decides which records and rows are kept, so that a run never has more than ``max_bytes``.

    Until half of the bytes are used, all records are kept. After each further 32nd of the bytes the distance between
    kept records doubles, up to one record in 65,536. A run of any length therefore stays below the limit, except for
    the rows of its last second, and its early steps are the densest. Evaluations are always kept. A gap says how many
    records are left out, and from which step on.

    Attributes:
        factor: One record in this number is kept.
    """

    def __init__(self, max_bytes: int, gaps: Gaps) -> None:
        """Begin with all records.

        Raises:
            ValueError: ``max_bytes`` is no whole number, or too small for any run.
        """
        if isinstance(max_bytes, bool) or not isinstance(max_bytes, int) or max_bytes < LEAST_BYTES:
            raise ValueError(f"max_bytes={max_bytes!r}: expected a whole number of bytes, {LEAST_BYTES:,} or more.")
        self.factor = 1
        self._max_bytes, self._gaps = max_bytes, gaps
        self._full = self._told_full = False
        self._records = 0

    def keeps_record(self, step: int, nbytes: int) -> bool:
        """Return whether the next record is kept, in a run that now has ``nbytes`` bytes."""
        self._look(step, nbytes)
        self._records += 1
        return not self._full and (self._records - 1) % self.factor == 0

    def keeps_row(self, row: Mapping[str, Any]) -> bool:
        """Return whether a row of table ``steps`` is kept."""
        return row[SPLIT] != TRAIN or not (self._full or row[STEP] % self.factor)

    def _look(self, step: int, nbytes: int) -> None:
        used = nbytes / (FILLED * self._max_bytes)
        self._full = used >= 1
        if self._full and not self._told_full:
            self._told_full = True
            self._gaps.note(what="records", why=f"none is kept while it is full: {_LIMIT}", first_step=step)
        factor = 1 if used < DENSE or self._full else 2 ** (1 + math.floor((used - DENSE) / SHARE))
        if factor > self.factor:
            tell = self._gaps.warn if self.factor == 1 else self._gaps.note
            self.factor = factor
            tell(what="records", why=f"only one in {factor} is kept: {_LIMIT}", first_step=step)
