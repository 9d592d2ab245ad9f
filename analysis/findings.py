"""What went wrong in a run, found in its tables: NaN, exploding norms, dying layers, drift. All pure functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from analysis.reading.selection import Patterns
from analysis.reading.store import AnyStore, Store
from analysis.reading.tables import fields_if_any, load
from analysis.summaries.layer_choice import weight_layers
from analysis.summaries.transforms import drift
from probes.schema import LAYER, LAYER_INDEX, LAYER_TYPE, LAYERS, RUN, STEP, STEPS

KIND, FROM_STEP, VALUE, MESSAGE = "kind", "from_step", "value", "message"
KINDS = ("NaN", "exploding", "vanishing", "dying", "drift")  # the gravest first
COLUMNS = (RUN, KIND, LAYER, FROM_STEP, VALUE, MESSAGE)
READ_BY_FINDINGS = {
    LAYERS: (
        "weight_mean",
        "weight_var",
        "weight_nonfinite",
        "grad_nonfinite",
        "activation_nonfinite",
        "spectral_norm",
        "dead_fraction",
        "grad_l2_norm",
    ),
    STEPS: ("loss",),
}
GAN_NETWORKS = ("critic", "generator")  # observed by one probe, their layers under these names
NONFINITE = ("weight_nonfinite", "grad_nonfinite", "activation_nonfinite")


@dataclass(frozen=True)
class Thresholds:
    """From where on a finding is one.

    Attributes:
        explosion: Growth of a layer's spectral norm over its first recorded value.
        dead: Share of dead channels.
        vanished: Gradient norm over its largest recorded value.
        drift: Drift of the weight mean over the standard deviation of the weights.
    """

    explosion: float = 10.0
    dead: float = 0.9
    vanished: float = 1e-5
    drift: float = 0.5


def findings(layers: pd.DataFrame, steps: pd.DataFrame, *, thresholds: Thresholds | None = None) -> pd.DataFrame:
    """Return all findings, a row for each run, kind and layer, the gravest kinds first, then by run and first step.

    A finding whose columns are not in the tables is not looked for.

    Args:
        layers: Table ``layers`` with any of the columns that findings need.
        steps: Table ``steps``; may be empty.
        thresholds: From where on a finding is one; None takes the defaults.
    """
    limits = thresholds or Thresholds()
    parts = [
        *(nonfinite(layers, column) for column in NONFINITE),
        nonfinite_loss(steps),
        exploding(layers, factor=limits.explosion),
        dying(layers, share=limits.dead),
        vanishing(layers, share=limits.vanished),
        drifting(layers, deviations=limits.drift),
    ]
    table = pd.concat([part for part in parts if len(part)] or [_none()], ignore_index=True)
    severity = table[KIND].map({kind: place for place, kind in enumerate(KINDS)})
    ordered = table.assign(_severity=severity).sort_values(
        ["_severity", RUN, FROM_STEP], kind="stable", ignore_index=True
    )
    return ordered.drop(columns="_severity")


def by_run(found: pd.DataFrame) -> pd.DataFrame:
    """Return findings in short: the first of each run and kind, and ``layers``, how many layers it befell."""
    counts = found.groupby([RUN, KIND], sort=False)[LAYER].transform("size").rename("layers")
    return found.assign(layers=counts).drop_duplicates([RUN, KIND], ignore_index=True)


def findings_of(store: AnyStore, *, runs: Patterns = None) -> pd.DataFrame:
    """Return :func:`findings` of a store, which reads only the columns that findings need."""
    opened, tables = Store.open(store), {}
    for table, needed in READ_BY_FINDINGS.items():
        present = fields_if_any(opened, table, runs=runs)
        wanted = [name for name in needed if name in present]
        # A loss that was not measured is null, one that diverged is NaN: only the latter is a finding.
        measured = wanted if table == STEPS else []
        tables[table] = load(opened, table, columns=wanted, runs=runs, measured=measured) if wanted else pd.DataFrame()
    return findings(tables[LAYERS], tables[STEPS])


def nonfinite(layers: pd.DataFrame, column: str) -> pd.DataFrame:
    """Return the layers in which a count of NaN and infinite elements is above 0; ``value`` is the count."""
    tensor = {"grad": "gradient"}.get(column.split("_", maxsplit=1)[0], column.split("_", maxsplit=1)[0])
    text = f"{{value:.0f}} entries of the {tensor} are NaN or infinite"
    return _first(layers, [column], lambda rows: rows[column], above=0, kind="NaN", text=text)


def nonfinite_loss(steps: pd.DataFrame) -> pd.DataFrame:
    """Return the runs whose loss was NaN or infinite; give it rows in which the loss was measured."""
    if not {RUN, STEP, "loss"} <= set(steps):
        return _none()
    broken = steps[~np.isfinite(steps["loss"].astype("float64"))].sort_values(STEP, kind="stable")
    first = broken.drop_duplicates(RUN)
    messages = ["the loss is NaN or infinite"] * len(first)
    return _shaped(first.assign(layer=""), kind="NaN", values=first["loss"], messages=messages)


def exploding(layers: pd.DataFrame, *, factor: float) -> pd.DataFrame:
    """Return the layers whose spectral norm has grown by a factor; ``value`` is the growth at the first such step."""
    return _first(
        layers,
        ["spectral_norm"],
        lambda rows: rows["spectral_norm"] / _by_layer(rows, "spectral_norm", "first"),
        above=factor,
        kind="exploding",
        text="the spectral norm is {value:.3g} times its first value",
    )


def dying(layers: pd.DataFrame, *, share: float) -> pd.DataFrame:
    """Return the layers with at least a share of dead channels.

    The last layer of a network, each of a GAN's two, is left out where there are others: its output is no channel that
    a rectifier silences, and a logit may well be negative.
    """
    return _first(
        _inner(layers) if LAYER_INDEX in layers else layers,
        ["dead_fraction"],
        lambda rows: rows["dead_fraction"],
        above=np.nextafter(share, 0),
        kind="dying",
        text="{value:.0%} of the channels are dead",
    )


def vanishing(layers: pd.DataFrame, *, share: float) -> pd.DataFrame:
    """Return the layers whose gradient norm is below a share of its largest; ``value`` is that share."""
    found = _first(
        layers,
        ["grad_l2_norm"],
        lambda rows: -rows["grad_l2_norm"] / _by_layer(rows, "grad_l2_norm", "max"),
        above=-share,
        kind="vanishing",
        text="",
    )
    shares = -found[VALUE]
    messages = [f"the gradient norm is {share:.2g} of its largest" for share in shares]
    return found.assign(value=shares, message=messages)


def drifting(layers: pd.DataFrame, *, deviations: float) -> pd.DataFrame:
    """Return the layers whose weight mean has drifted by a share of the weights' standard deviation.

    Normalisation layers are left out: their scales start out all equal, with no deviation to measure by.
    """
    return _first(
        weight_layers(layers, None) if LAYER_TYPE in layers else layers,
        ["weight_mean", "weight_var"],
        lambda rows: drift(rows).abs() / np.sqrt(rows["weight_var"].astype("float64")),
        above=deviations,
        kind="drift",
        text="the mean weight has drifted by {value:.2f} standard deviations",
    )


def _first(
    layers: pd.DataFrame,
    needed: Sequence[str],
    measure: Callable[[pd.DataFrame], pd.Series],
    *,
    above: float,
    kind: str,
    text: str,
) -> pd.DataFrame:
    """Return for each run and layer the first step at which a measure is above a level."""
    if not {RUN, STEP, LAYER, *needed} <= set(layers):
        return _none()
    rows = layers.dropna(subset=list(needed)).sort_values(STEP, kind="stable")
    rows = rows.assign(value=measure(rows).astype("float64"))
    first = rows[rows[VALUE] > above].drop_duplicates([RUN, LAYER])
    messages = [text.format(value=value) for value in first[VALUE]]
    return _shaped(first, kind=kind, values=first[VALUE], messages=messages)


def _inner(layers: pd.DataFrame) -> pd.DataFrame:
    networks = {name: name.partition(".")[0] for name in map(str, layers[LAYER].unique())}
    network = layers[LAYER].astype(str).map({k: v if v in GAN_NETWORKS else "" for k, v in networks.items()})
    depth = layers.groupby([layers[RUN].astype(str), network])[LAYER_INDEX]
    return layers[(layers[LAYER_INDEX] < depth.transform("max")) | (depth.transform("nunique") == 1)]


def _by_layer(rows: pd.DataFrame, column: str, how: Literal["first", "max"]) -> pd.Series:
    return rows.groupby([RUN, LAYER], observed=True)[column].transform(how)


def _shaped(first: pd.DataFrame, *, kind: str, values: pd.Series, messages: list[str]) -> pd.DataFrame:
    table = first.astype({RUN: str, LAYER: str})
    table = table.assign(kind=kind, from_step=first[STEP], value=values, message=messages)
    return table[list(COLUMNS)].reset_index(drop=True)


def _none() -> pd.DataFrame:
    return pd.DataFrame({name: pd.Series(dtype="float64" if name == VALUE else "object") for name in COLUMNS})
