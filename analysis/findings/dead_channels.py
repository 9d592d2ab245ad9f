"""Finding "dying": a large share of a layer's channels is dead."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.findings.finding import Finding, Thresholds, first_above
from probes.schema import LAYER, LAYER_INDEX, LAYERS, RUN

_KIND, _COLUMN = "dying", "dead_fraction"
_GAN_NETWORKS = ("critic", "generator")  # one probe observes both; their layers are named "critic.…", "generator.…"


def dead_channels(layers: pd.DataFrame, steps: pd.DataFrame, limits: Thresholds) -> pd.DataFrame:  # noqa: ARG001
    """Return the layers with at least a share of dead channels; ``value`` is the share.

    The last layer of a network, and of each network of a GAN, is left out where there are others. No rectifier follows
    it, and a logit may be negative for every image.
    """
    at_least = np.nextafter(limits.dead, 0)
    inner = _without_outputs(layers) if LAYER_INDEX in layers else layers
    text = "{value:.0%} of the channels are dead"
    return first_above(inner, [_COLUMN], lambda rows: rows[_COLUMN], at_least, kind=_KIND, text=text)


def _without_outputs(layers: pd.DataFrame) -> pd.DataFrame:
    networks = {name: name.partition(".")[0] for name in map(str, layers[LAYER].unique())}
    network = layers[LAYER].astype(str).map({k: v if v in _GAN_NETWORKS else "" for k, v in networks.items()})
    depth = layers.groupby([layers[RUN].astype(str), network])[LAYER_INDEX]
    return layers[(layers[LAYER_INDEX] < depth.transform("max")) | (depth.transform("nunique") == 1)]


FINDING = Finding(_KIND, {LAYERS: (_COLUMN,)}, dead_channels)
