"""Of the findings of a run the one that explains the others comes first, and only what can follow stands below it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from analysis.findings import COLUMNS, FINDINGS
from analysis.findings.causality import LEADS_TO, explained, groups
from analysis.findings.run_records import RunRecords

LAYERS = ("0", "1", "2")


def run(*, records: int = 40, every: int = 1, **columns: float) -> RunRecords:
    """Return a run of three layers whose columns hold one value."""
    steps = np.repeat(np.arange(records) * every, len(LAYERS))
    table = pd.DataFrame({"step": steps, "layer": np.tile(LAYERS, records), **columns})
    return RunRecords("r", table, pd.DataFrame())


def found(kind: str, step: int, column: str, *, severity: str = "grave", layer: str = "0", to: int = 39) -> dict:
    about = {"run": "r", "kind": kind, "severity": severity, "layer": layer, "from_step": step, "to_step": to}
    return {**dict.fromkeys(COLUMNS), **about, "column": column, "remedy": f"cure of {kind}"}


def kinds(rows: list[dict], records: RunRecords | None = None) -> list[tuple[str, list[str]]]:
    trees = explained(rows, run() if records is None else records)
    return [(tree.root["kind"], [row["kind"] for row in tree.consequences]) for tree in trees]


EXPLOSION = found("exploding", 21, "grad_l2_norm")
LARGE = found("large update", 20, "update_ratio", severity="warning")


def test_what_began_before_explains_the_graver_finding() -> None:
    assert kinds([EXPLOSION, LARGE]) == [("large update", ["exploding"])]


def test_of_one_record_the_number_that_is_computed_first_explains_the_later() -> None:
    rows = [found("exploding", 20, "grad_l2_norm"), LARGE, found("loss spike", 20, "loss", layer="")]
    assert kinds(rows) == [("loss spike", ["exploding", "large update"])]


def test_what_cannot_follow_stands_by_itself() -> None:
    rows = [found("frozen", 0, "grad_l2_norm", severity="warning", layer="2"), EXPLOSION]
    assert kinds(rows) == [("frozen", []), ("exploding", [])]


def test_what_is_long_over_explains_nothing() -> None:
    rows = [found("loss spike", 3, "loss", layer="", to=3), found("exploding", 30, "grad_l2_norm")]
    assert kinds(rows) == [("loss spike", []), ("exploding", [])]
    rows[0] |= {"to_step": 26}
    assert kinds(rows) == [("loss spike", ["exploding"])]


def test_reach_is_counted_in_records_and_not_in_steps() -> None:
    rows = [found("loss spike", 300, "loss", layer="", to=300), found("exploding", 700, "grad_l2_norm")]
    assert kinds(rows, run(every=100)) == [("loss spike", ["exploding"])]
    assert kinds(rows, run(every=10, records=100)) == [("loss spike", []), ("exploding", [])]


def test_a_note_explains_a_graver_finding_of_its_own_record_alone() -> None:
    note = found("spectral explosion", 21, "spectral_norm", severity="note")
    assert kinds([EXPLOSION, note]) == [("spectral explosion", ["exploding"])]
    assert kinds([EXPLOSION, {**note, "from_step": 19}]) == [("spectral explosion", []), ("exploding", [])]


def test_a_collapsed_weight_explains_the_update_that_made_it() -> None:
    collapse = found("weight collapse", 21, "weight_l2_norm", severity="warning")
    assert kinds([LARGE, collapse]) == [("weight collapse", ["large update"])]


@pytest.mark.parametrize(("recorded", "first"), [({"activation_nonfinite": 0.0}, ""), ({}, "0")])
def test_a_nan_loss_explains_nan_gradients_where_outputs_are_known(recorded: dict[str, float], first: str) -> None:
    rows = [found("NaN", 20, "grad_nonfinite"), found("NaN", 20, "loss", layer="")]
    tree = explained(rows, run(weight_mean=0.0, **recorded))[0]
    assert (tree.root["layer"], len(tree.consequences)) == (first, 1)


def test_of_equals_the_first_layer_in_forward_order_explains_the_others() -> None:
    rows = [
        found("saturation", 20, "saturated_fraction", severity="warning", layer="2"),
        found("overflow", 20, "activation_var", severity="warning", layer="1"),
    ]
    assert kinds(rows) == [("overflow", ["saturation"])]


def test_a_consequence_names_what_it_follows_from_and_its_remedy() -> None:
    (row,) = explained([EXPLOSION, LARGE], run())[0].follow()
    assert row["explained_by"] == "large update"
    assert row["cause"] == "it follows from the finding large update in layer 0, which begins at step 20"
    assert row["remedy"] == "cure of large update"
    assert EXPLOSION["explained_by"] is None  # its own row is as it was


def test_a_kind_without_a_family_explains_nothing_and_follows_from_nothing() -> None:
    rows = [found("new", 19, "grad_new"), {**EXPLOSION, "to_step": 30}, found("new", 31, "grad_new", layer="1")]
    assert kinds(rows) == [("new", ["new"]), ("exploding", [])]


def test_only_kinds_of_findings_lead_to_others() -> None:
    assert set(LEADS_TO) <= set(FINDINGS)
    assert set().union(*LEADS_TO.values()) <= set(FINDINGS)


def test_rows_of_the_table_are_grouped_below_what_explains_them() -> None:
    first, *rest = (
        {"run": "r", "kind": "large update", "explained_by": ""},
        {"run": "r", "kind": "exploding", "explained_by": "large update"},
        {"run": "s", "kind": "exploding", "explained_by": "large update"},  # its own explanation is not there
    )
    assert groups([first, *rest]) == [(first, rest[:1]), (rest[1], [])]
