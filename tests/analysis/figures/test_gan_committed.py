"""The committed GAN figures are those of the committed store: the same prepared tables, byte for byte."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from analysis.gallery.figure import prepare
from analysis.gallery.provenance import table_hash
from analysis.paper.score_table import score_table
from analysis.paper.table_text import to_csv

FOLDER = Path(__file__).parents[3] / "figures" / "gan"
STORE = FOLDER / "store"
DRAWN = sorted(FOLDER.rglob("*.json"))


def test_there_are_committed_figures() -> None:
    assert {json.loads(path.read_text())["figure"] for path in DRAWN} >= {
        "gan_losses",
        "gan_outputs",
        "gan_scores",
        "gan_gradients",
        "gan_bounds",
        "gan_samples",
        "singular_values",
        "mean_drift",
    }


@pytest.mark.parametrize("path", DRAWN, ids=lambda path: str(path.relative_to(FOLDER).with_suffix("")))
def test_a_committed_figure_is_made_from_the_committed_store(path: Path) -> None:
    facts = json.loads(path.read_text())
    prepared = prepare(facts["figure"], STORE, runs=facts["runs"], **facts["options"])
    assert table_hash(prepared.table) == facts["table_hash"]


def test_the_committed_table_ii_is_made_from_the_committed_store() -> None:
    assert (FOLDER / "scores.csv").read_text() == to_csv(score_table(STORE), caption="")


def test_the_committed_store_is_small() -> None:
    assert sum(path.stat().st_size for path in STORE.rglob("*") if path.is_file()) < 2 * 2**20
