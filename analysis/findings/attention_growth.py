"""Finding "attention logits": the largest logit of a head becomes too large for a softmax."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from analysis.findings.finding import WARNING, Evidence, Finding
from analysis.findings.history import first_measured, lasting
from analysis.findings.run_records import RunRecords
from analysis.findings.thresholds import Thresholds
from probes.schema import LAYER, LAYER_INDEX, STEP, UNIT, UNITS

_KIND, _COLUMN = "attention logits", "attention_logit_max"
_GROWN, _IN_A_ROW = 4.0, 2  # times the logit of the first record; records


def attention_growth(run: RunRecords, limits: Thresholds) -> Iterator[Evidence]:
    """Yield attentions with a head whose largest logit is above a limit and four times its first, two records in a row.

    At a logit 50 above the others a softmax gives all but 1e-21 to one key, and its gradient vanishes. The number is
    the logit. Infinity counts; NaN is reported by the finding ``NaN``. The message names the head.
    """
    table = run.units
    if not {STEP, LAYER, UNIT, _COLUMN} <= set(table) or table[_COLUMN].isna().all():
        return
    steps, layers, heads, logits = _by_head(table)
    first = first_measured(logits)
    high = lasting((logits > limits.attention_logits) & (logits > _GROWN * first), records=_IN_A_ROW)
    if not high.any():
        return
    names = list(dict.fromkeys(layers))
    places = [np.flatnonzero(np.array(layers) == name) for name in names]
    where = np.stack([high[:, mine].any(axis=1) for mine in places], axis=1)
    shown = np.where(high, logits, -np.inf)
    values = np.stack([shown[:, mine].max(axis=1) for mine in places], axis=1)
    begins = int(where.any(axis=1).argmax())
    layer = int(where[begins].argmax())
    head = heads[places[layer][shown[begins, places[layer]].argmax()]]
    yield Evidence(
        where,
        steps,
        names,
        values,
        limits.attention_logits,
        _COLUMN,
        WARNING,
        f"the attention logits of head {head} have grown to {{value:.3g}}: its softmax is near one key of many",
        "a learning rate that is too high without warm-up: queries and keys grow together; the loss may follow",
        "lower the learning rate or warm it up; normalise queries and keys (QK-norm), or cap the logits",
    )


def _by_head(table: pd.DataFrame) -> tuple[np.ndarray, list[str], list[int], np.ndarray]:
    """Return steps, the layer and the number of each head in forward order, and the logits ``(records, heads)``."""
    rows = table[table[_COLUMN].notna()]
    depth = rows.get(LAYER_INDEX, 0)
    keyed = pd.DataFrame(
        {STEP: rows[STEP], "depth": depth, LAYER: rows[LAYER].astype(str), UNIT: rows[UNIT], _COLUMN: rows[_COLUMN]}
    )
    matrix = keyed.pivot_table(index=STEP, columns=["depth", LAYER, UNIT], values=_COLUMN, observed=True)
    layers = matrix.columns.get_level_values(LAYER).astype(str).tolist()
    heads = matrix.columns.get_level_values(UNIT).tolist()
    return matrix.index.to_numpy(), layers, heads, matrix.to_numpy("float64")


FINDING = Finding(_KIND, {UNITS: (_COLUMN,)}, attention_growth, fewest=1 + _IN_A_ROW)
