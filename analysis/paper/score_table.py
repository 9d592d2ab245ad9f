"""Table II: scores of generated images by feature extractor, with the published scores."""

from __future__ import annotations

import pandas as pd

from analysis.paper.published import published_scores
from analysis.reading.run_table import with_settings
from analysis.reading.selection import Patterns, abbreviated
from analysis.reading.store import AnyStore, Store
from analysis.reading.tables import fields, load
from analysis.summaries.norm_names import NORM_ORDER
from probes.schema import RUN, SPLIT, STEP, STEPS

DATA, NORM, EXTRACTOR, REAL = "data", "norm", "extractor", "real"
MEASURES = {"is": "inception_score", "fid": "frechet_distance", "kid": "kernel_distance"}
# Data set and extractor of the paper's numbers. Scores on other features are other quantities.
PUBLISHED_DATA, PUBLISHED_EXTRACTOR = "cifar10", "inception"
_DEVIATION = "_std"


def score_table(store: AnyStore, *, runs: Patterns = None) -> pd.DataFrame:
    """Return Table II: the last scores of each data set, norm and extractor, averaged over runs.

    Scores stand in table ``steps`` as ``is_<extractor>``, ``fid_<extractor>`` and ``kid_<extractor>``, and with
    ``_std`` as the deviation over draws. Split ``test`` has the scores of generated images. Split ``real`` has those of
    real images, which are the norm ``real`` here. The differences to the paper are given only for Inception features of
    CIFAR-10.

    Raises:
        FileNotFoundError: There is no such store.
        ValueError: No score was recorded, or runs without ``norm`` in their configuration.
    """
    opened = Store.open(store)
    recorded = list(fields(opened, STEPS, runs=runs))
    if not any(_named(name) for name in recorded):
        raise ValueError(f"Table II needs scores (is_*, fid_*) in table 'steps'; it has: {abbreviated(recorded)}")
    long = pd.concat([_last(opened, name, runs) for name in recorded if _named(name)], ignore_index=True)
    long = with_settings(with_settings(long, opened, [NORM]), opened, [DATA], optional=True)
    long[NORM] = long[NORM].mask(long[SPLIT] == REAL, REAL)
    keys = [DATA, NORM, EXTRACTOR]
    # A NaN of one run makes the mean NaN: a diverged generator is not averaged away.
    means = long.groupby([*keys, "column"], dropna=False)["value"].agg(lambda values: values.mean(skipna=False))
    wide = means.unstack("column")
    order = [name + end for name in MEASURES.values() for end in ("", _DEVIATION) if name + end in wide]
    counts = long.groupby(keys, dropna=False)[RUN].nunique().rename("runs")
    published = published_scores().assign(**{DATA: PUBLISHED_DATA})
    table = wide[order].join(counts).reset_index().merge(published, on=[DATA, NORM], how="left")
    return _in_order(_with_differences(table))


def _named(column: str) -> tuple[str, str] | None:
    """Return measure and extractor of a column of scores: ``fid_resnet20_std`` -> (frechet_distance_std, resnet20)."""
    measure, _, extractor = column.removesuffix(_DEVIATION).partition("_")
    if measure not in MEASURES or not extractor:
        return None
    return MEASURES[measure] + (_DEVIATION if column.endswith(_DEVIATION) else ""), extractor


def _last(store: Store, column: str, runs: Patterns) -> pd.DataFrame:
    """Return each run's last value of a column of scores, by split; a deviation counts where its score is the last."""
    score = column.removesuffix(_DEVIATION)
    rows = load(store, STEPS, columns=sorted({score, column}), runs=runs, measured=[score])
    rows = rows.sort_values(STEP, kind="stable").drop_duplicates([RUN, SPLIT], keep="last")
    name, extractor = _named(column) or ("", "")
    last = rows[[RUN, SPLIT]].astype(str)
    last["value"], last["column"], last[EXTRACTOR] = rows[column].astype("float64"), name, extractor
    return last


def _with_differences(table: pd.DataFrame) -> pd.DataFrame:
    compares = table[EXTRACTOR] == PUBLISHED_EXTRACTOR
    for measure, published in (("inception_score", "published_is"), ("frechet_distance", "published_fid")):
        if measure in table:
            table[f"{measure}_difference"] = (table[measure] - table[published]).where(compares)
    return table


def _in_order(table: pd.DataFrame) -> pd.DataFrame:
    order = (REAL, *NORM_ORDER)
    place = table[NORM].map({norm: i for i, norm in enumerate(order)}).fillna(len(order))
    return table.assign(_place=place).sort_values([DATA, "_place", EXTRACTOR], ignore_index=True).drop(columns="_place")
