"""The layers before a nonlinearity: recorded by the probe, or guessed for runs without such a record."""

from __future__ import annotations

import pandas as pd

from analysis.reading.selection import abbreviated
from analysis.reading.store import Store
from analysis.reading.tables import fields_if_any, load
from analysis.summaries.comparison_arms import ARM
from analysis.summaries.layer_choice import NETWORKS_OF_A_GAN, in_depth_order, is_normalisation
from probes.schema import CHANNELS, FEEDS, LAYER, LAYER_INDEX, LAYER_TYPE, LAYERS, RUN


def with_feeds(rows: pd.DataFrame, store: Store) -> pd.DataFrame:
    """Return rows of table ``layers`` with the column ``feeds_nonlinearity``: whether a nonlinearity follows.

    If the probe has recorded which layers are before a nonlinearity, these are known: they are in table ``channels``,
    or have 1 in column ``feeds_nonlinearity``. For a run without such a record they are guessed by :func:`guessed` from
    all its layers, even if only some of them are among the rows.

    Args:
        rows: Rows with ``run``, ``layer``, ``layer_index`` and ``layer_type``.
        store: The store of the rows.
    """
    known = layers_before(store, list(rows[RUN].astype(str).unique()))
    pairs = zip(rows[RUN].astype(str), rows[LAYER].astype(str), strict=True)
    return rows.assign(**{FEEDS: [layer in known.get(run, ()) for run, layer in pairs]})


def layers_before(store: Store, runs: list[str]) -> dict[str, set[str]]:
    """Return the layers before a nonlinearity, by run: recorded, or :func:`guessed` where there is no record."""
    known = recorded(store, runs)
    unknown = [run for run in runs if run not in known]
    if unknown:
        table = load(store, LAYERS, columns=[], runs=unknown)
        table = table.drop_duplicates([RUN, LAYER], ignore_index=True)
        before = table[guessed(table)]
        known |= {str(run): set(own[LAYER].astype(str)) for run, own in before.groupby(RUN, observed=True)}
    return known


def recorded(store: Store, runs: list[str]) -> dict[str, set[str]]:
    """Return the layers that the probe has seen before a nonlinearity, by run; runs without such a record are left out.

    If the probe batch does not reach a layer, table ``layers`` may have its record.
    """
    known: dict[str, set[str]] = {}
    if FEEDS in fields_if_any(store, LAYERS, runs=runs):
        rows = load(store, LAYERS, columns=[FEEDS], runs=runs, measured=[FEEDS])
        for run, own in rows.groupby(RUN, observed=True):
            known[str(run)] = set(own.loc[own[FEEDS] > 0, LAYER].astype(str))
    passed = [run for run in runs if run in set(store.runs_of(CHANNELS))]
    rows = load(store, CHANNELS, columns=[], runs=passed) if passed else pd.DataFrame(columns=[RUN, LAYER])
    for run, own in rows.groupby(RUN, observed=True):
        known.setdefault(str(run), set()).update(own[LAYER].astype(str))
    return known


def guessed(table: pd.DataFrame, *, by: str = RUN) -> pd.Series:
    """Return which layers are likely to be before a nonlinearity, by their kind.

    In a network with normalisation layers, these are the normalisation layers. In any other network they are the layers
    with a weight matrix. The last layer, whose output is the network's, is left out if there are other layers.
    Generator and critic are networks of their own.

    Args:
        table: One row per layer, with ``layer_index``, ``layer_type`` and the column ``by``.
        by: The column that tells the networks apart.
    """
    types = table[LAYER_TYPE].astype(str)
    normalises = types.map({name: is_normalisation(name) for name in types.unique()}).astype(bool)
    part = table[LAYER].astype(str).str.partition(".")[0]
    network = [table[by], part.where(part.isin(NETWORKS_OF_A_GAN), "")]
    depth = table[LAYER_INDEX].groupby(network, observed=True)
    last, first = depth.transform("max"), depth.transform("min")
    inner = (table[LAYER_INDEX] < last) | (first == last)
    network_normalises = (normalises & inner).groupby(network, observed=True).transform("any")
    return inner & (normalises | ~network_normalises)


def pre_activation_layers(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the layers before a nonlinearity, of all or of those that were asked for by name.

    ``layer_index`` is counted anew within each arm, so that the first such layer of every arm has the same depth.

    Args:
        table: Rows with ``feeds_nonlinearity`` (:func:`with_feeds`); without it the layers are :func:`guessed`.

    Raises:
        ValueError: None of the layers is before a nonlinearity.
    """
    chosen = table[table[FEEDS] if FEEDS in table else guessed(table, by=ARM)]
    if chosen.empty:
        raise ValueError(
            f"no nonlinearity is given the output of {abbreviated(in_depth_order(table))}: choose the layers before one"
            " with layers=, or leave the choice out"
        )
    depth = chosen.groupby(ARM, observed=True)[LAYER_INDEX].rank(method="dense").astype("int64") - 1
    return chosen.assign(**{LAYER_INDEX: depth})
