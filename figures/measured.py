"""The numbers of README.md from the runs of ``measures/store``: bounds, landscape, drift on a fixed batch."""

from __future__ import annotations

import pandas as pd
from stored_runs import CNN3_ONE, MEASURES, THREE, VGG7

from analysis.gallery.figure import prepare
from analysis.reading.store import Store
from analysis.reading.tables import steps

_COLUMNS = {
    "upper": "lipschitz_bound",
    "lower": "jacobian_norm",
    "unfolded": "unfolded_product",
    "complexity": "spectral_complexity",
    "margin_bound": "margin_bound",
    "smoothness": "effective_smoothness",
    "hessian": "hessian_top_eigenvalue",
    "shift_cosine": "covariate_shift_cosine",
    "shift_length": "covariate_shift_l2",
}
_OVER_EPOCHS = {"smoothness", "hessian", "shift_cosine", "shift_length"}  # median over epochs: each is of one batch
_FORMS = {"shift_cosine": ".4f", "upper": ".3g", "margin_bound": ".3g", "complexity": ".3g", "smoothness": ".3g"}


def measured_numbers() -> dict[str, str]:
    """Return every number by name, formatted as on the page."""
    store = Store(MEASURES)
    found: dict[str, str] = {}
    records = held = 0
    for network, runs in (("cnn3", CNN3_ONE), ("vgg7", VGG7)):
        rows = steps(store, columns=list(_COLUMNS.values()), runs=runs).astype({"run": str})
        rows = rows[rows["lipschitz_bound"].notna() & rows["jacobian_norm"].notna()]
        records += len(rows)
        held += int((rows["jacobian_norm"] <= rows["lipschitz_bound"]).sum())
        of_norm = rows["run"].str.split("-").str[2]
        for name, column in _COLUMNS.items():
            by_norm = rows.groupby(of_norm)[column]
            values = by_norm.median() if name in _OVER_EPOCHS else by_norm.last()
            found[f"{network}_{name}"] = _text(values, _FORMS.get(name, ".2g"))
        found[f"{network}_unlearned_drift"] = _text(_unlearned_drift(store, runs), ".2f")
    return {**found, "bracket_records": f"{held} of {records}"}


def _unlearned_drift(store: Store, runs: list[str]) -> pd.Series:
    """Return the largest drift over layers without learned shifts (beta, m, bias), on the fixed batch at the end."""
    table = prepare("channels", store, runs=runs).table
    last = table[table["step"] == table.groupby("norm")["step"].transform("max")]
    return last.groupby("norm")["mean"].max()


def _text(values: pd.Series, form: str) -> str:
    return ", ".join(f"{norm.upper()} {_digits(values[norm], form)}" for norm in THREE if norm in values.index)


def _digits(value: float, form: str) -> str:
    """Return a number in the format ``form``, without an exponent: 20,600 for 2.06e+04."""
    text = f"{value:{form}}"
    return f"{float(text):,g}" if "e+" in text else text


if __name__ == "__main__":
    print("\n".join(f"{name:24} {text}" for name, text in measured_numbers().items()))
