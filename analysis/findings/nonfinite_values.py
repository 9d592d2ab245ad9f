"""Finding "NaN": NaN or infinite entries of a weight, gradient or activation, or such a loss."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.findings.finding import Finding, Thresholds, as_findings, first_above, no_findings
from probes.schema import LAYERS, RUN, STEP, STEPS

_KIND, _LOSS = "NaN", "loss"
_TENSORS = {"weight_nonfinite": "weight", "grad_nonfinite": "gradient", "activation_nonfinite": "activation"}


def nonfinite_values(layers: pd.DataFrame, steps: pd.DataFrame, limits: Thresholds) -> pd.DataFrame:  # noqa: ARG001
    """Return the layers with NaN or infinite entries, and the runs with such a loss.

    ``value`` is the number of entries, or the loss. ``steps`` has the rows in which the loss was measured.
    """
    parts = [*(_entries(layers, column) for column in _TENSORS), _losses(steps)]
    return pd.concat([part for part in parts if len(part)] or [no_findings()], ignore_index=True)


def _entries(layers: pd.DataFrame, column: str) -> pd.DataFrame:
    text = f"{{value:.0f}} entries of the {_TENSORS[column]} are NaN or infinite"
    return first_above(layers, [column], lambda rows: rows[column], 0, kind=_KIND, text=text)


def _losses(steps: pd.DataFrame) -> pd.DataFrame:
    if not {RUN, STEP, _LOSS} <= set(steps):
        return no_findings()
    broken = steps[~np.isfinite(steps[_LOSS].astype("float64"))].sort_values(STEP, kind="stable")
    first = broken.drop_duplicates(RUN)
    messages = ["the loss is NaN or infinite"] * len(first)
    return as_findings(first.assign(layer=""), kind=_KIND, values=first[_LOSS], messages=messages)


FINDING = Finding(_KIND, {LAYERS: tuple(_TENSORS), STEPS: (_LOSS,)}, nonfinite_values)
