"""Drawing from a store that was committed gives, on any machine, the very numbers it gave when it was committed.

``python tests/analysis/test_recorded_store.py --write`` accepts the tables that the figures prepare now.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from analysis.figures import FIGURES
from analysis.findings import findings_of
from analysis.gallery.figure import prepare
from analysis.gallery.provenance import table_hash

HERE = Path(__file__).parent / "recorded"
STORE, HASHES = HERE / "runs", HERE / "prepared_tables.json"
# The store has one learning rate, no widths, no GAN. It is older than bounds, landscape, channels, heads and inputs.
NOT_THERE = {"learning_rates", "lipschitz", "complexity", "landscape", "channels"}
NOT_THERE |= {"coordinate_check", "attention_map", "router_map", "residual_map"}
NAMES = [name for name in FIGURES if name not in NOT_THERE and not name.startswith("gan_")]
COMMITTED = Path(__file__).parents[2] / "figures"


def prepared(name: str, store: Path = STORE) -> str:
    return table_hash(prepare(name, store).table)


def test_every_figure_has_its_hash() -> None:
    assert list(json.loads(HASHES.read_text())) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_regenerating_gives_the_committed_table_byte_for_byte(name: str) -> None:
    assert prepared(name) == json.loads(HASHES.read_text())[name]


def test_real_runs_that_went_well_have_no_findings() -> None:
    assert findings_of(STORE).empty


def store_of(path: Path) -> Path | None:
    """Return the committed store that a figure was made from: beside its provenance file or above it."""
    facts = json.loads(path.read_text())
    stores = [parent / facts["store"] for parent in path.parents[:4]] if "table_hash" in facts else []
    return next((store for store in stores if (store / "runs").is_dir()), None)


WITHOUT_A_STORE = {"coordinate_check"}  # drawn from a table that tests/test_coordinate_check_page.py holds
MADE = {path: store for path in sorted(COMMITTED.rglob("*.json")) if (store := store_of(path))}


def test_every_folder_of_committed_figures_is_checked() -> None:
    drawn = {path.parent for path in COMMITTED.rglob("*.png") if "store" not in path.parts}
    drawn = {folder for folder in drawn if not WITHOUT_A_STORE & set(folder.relative_to(COMMITTED).parts)}
    assert drawn == {path.parent for path in MADE}


@pytest.mark.parametrize(("path", "store"), MADE.items(), ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_the_committed_figures_regenerate_from_the_committed_store(path: Path, store: Path) -> None:
    facts = json.loads(path.read_text())
    again = prepare(facts["figure"], store, runs=facts["runs"], **facts["options"])
    assert table_hash(again.table) == facts["table_hash"]


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        sys.exit(__doc__)
    HASHES.write_text(json.dumps({name: prepared(name) for name in NAMES}, indent=2) + "\n")
