"""Columns of table ``channels``: the input of each nonlinearity by channel, on a fixed batch in evaluation mode."""

from __future__ import annotations

import pyarrow as pa

from probes.schema.columns.column import Column

_SEEN = "input of the nonlinearity behind the layer, on the probe batch in evaluation mode"
_GIVEN = "input of the layer, on the probe batch in evaluation mode; only of a norm with running statistics"
_NORM = "running statistics of the layer; null where it keeps none"

CHANNEL_COLUMNS = (
    Column(
        "nonlinearity",
        "",
        "operator that is given the layer's output, directly or through sums, pooling and views: relu, gelu, ...",
        type=pa.dictionary(pa.int32(), pa.string()),
    ),
    Column("mean", "1", "mu_c = mean over samples and positions", _SEEN),
    Column("deviation", "1", "sigma_c = sqrt(mean (x - mu_c)^2)", _SEEN),
    Column("maximum", "1", "max x; a channel with max <= 0 is dead behind a ReLU", _SEEN),
    Column("positive_fraction", "1", "share of entries > 0", _SEEN),
    Column("shift", "1", "b_c, a norm's beta, mean-centring's m or a bias", "bias of the layer; null without one"),
    Column("input_mean", "1", "mean over samples and positions: what batch norm and centring take away", _GIVEN),
    Column("input_deviation", "1", "sqrt(mean (x - mean)^2)", _GIVEN),
    Column("running_mean", "1", "running mean of the layer's input in training", _NORM),
    Column("running_deviation", "1", "sqrt(running variance)", _NORM),
)
CHANNEL_NUMBERS = CHANNEL_COLUMNS[1:]
