"""Table III."""

from __future__ import annotations

import pandas as pd
import pytest

from dynamics.models.parameter_counts import COLUMNS, table3

# The paper's Table III, typed from its page; the WGAN's MSN row is one above what one m a channel gives.
PAPER = {
    ("WGAN (Discriminator)", "bn"): 2_938_689,
    ("WGAN (Discriminator)", "sn"): 2_935_873,
    ("WGAN (Discriminator)", "msn"): 2_937_282,
    ("3-layer CNN", "bn"): 103_562,
    ("3-layer CNN", "sn"): 103_406,
    ("3-layer CNN", "msn"): 103_486,
    ("VGG-7", "bn"): 438_314,
    ("VGG-7", "sn"): 437_168,
    ("VGG-7", "msn"): 437_744,
    ("DenseNet-BC", "bn"): 1_009_730,
    ("DenseNet-BC", "sn"): 1_007_608,
    ("DenseNet-BC", "msn"): 1_008_670,
}


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return table3().set_index(["model", "norm"])


def test_rows_and_columns_are_the_tables(table: pd.DataFrame) -> None:
    assert list(table.index) == list(PAPER)
    assert (*table.index.names, *table.columns) == COLUMNS
    assert table["paper"].to_dict() == PAPER


@pytest.mark.parametrize("row", [row for row in PAPER if row != ("WGAN (Discriminator)", "msn")], ids=" ".join)
def test_released_accounting_gives_the_papers_number(row: tuple[str, str], table: pd.DataFrame) -> None:
    assert table.loc[row, "released_count"] == PAPER[row]


def test_the_wgan_msn_row_is_one_off_and_says_so(table: pd.DataFrame) -> None:
    row = table.loc[("WGAN (Discriminator)", "msn")]
    assert row["released_count"] == row["count"] == 2_937_281
    assert row["difference"] == -1
    assert "unexplained" in row["reason"]


def test_our_own_counts_follow_equation_7(table: pd.DataFrame) -> None:
    counts = table["count"]
    # Channels that a layer makes, each with an m; batch norm's scale and shift are those of the layers that read them.
    for model, (made, read) in {
        "WGAN (Discriminator)": (1408, 1408),
        "3-layer CNN": (80, 80),
        "VGG-7": (576, 576),
        "DenseNet-BC": (24 + 48 * (48 + 12) + 172 + 291, 15_479),
    }.items():
        assert counts[model, "bn"] - counts[model, "sn"] == 2 * read
        assert counts[model, "msn"] - counts[model, "sn"] == made


def test_every_difference_has_its_reason(table: pd.DataFrame) -> None:
    assert (table["difference"] == table["count"] - table["paper"]).all()
    assert ((table["reason"] == "equal") == (table["difference"] == 0)).all()
    dense = table.loc[("DenseNet-BC", "sn"), "reason"]
    assert dense.startswith("-28,832: the released dense layers keep batch norm")
    assert "; -4: the released scripts count a scalar" in dense
