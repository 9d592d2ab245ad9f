"""The typical size of an update: the median over layers of ``|W' - W| / |W|``."""

from __future__ import annotations

import numpy as np

from analysis.findings.history import first_measured
from analysis.findings.run_records import Records, RunRecords

UPDATE, NORM = "update_ratio", "weight_l2_norm"
COARSE = 1e-4  # epsilon of float16 is 0.001, of bfloat16 0.008, of float32 1e-7


def typical_updates(run: RunRecords) -> tuple[Records, np.ndarray] | None:
    """Return the records of the update sizes and the median over layers at each, ``(records, 1)``; None without any.

    Layers whose weight starts at 0 are left out: their first updates are infinite, or large relative to the weight.
    """
    if (records := run.take(UPDATE)) is None:
        return None
    sizes = records[UPDATE].copy()
    norms = run.whole(NORM)
    from_zero = np.isinf(first_measured(sizes)) | np.isnan(sizes).all(axis=0)
    if norms is not None:
        from_zero |= first_measured(norms) == 0
    sizes[:, from_zero] = np.nan
    kept = np.ma.masked_invalid(sizes)
    return records, np.ma.filled(np.ma.median(kept, axis=1), np.nan)[:, None]
