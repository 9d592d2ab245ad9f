from __future__ import annotations

import pytest

from analysis.plotting.column_words import axis_label, definition, in_words, with_smoothing
from probes.schema import Column


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("grad_l2_norm", "gradient L2 norm"),
        ("weight_var", "weight variance"),
        ("singular_value_mean", "singular value mean"),
        ("lr", "learning rate"),
        ("my_own_column", "my own column"),
    ],
)
def test_columns_are_spoken_in_words(name: str, words: str) -> None:
    assert in_words(name) == words


def test_an_axis_has_its_unit_unless_it_is_a_pure_number() -> None:
    assert axis_label(Column("seconds", "s", "")) == "seconds [s]"
    assert axis_label(Column("weight_mean", "1", "mean(W)")) == "weight mean"


def test_a_definition_names_the_tensor() -> None:
    assert definition(Column("weight_mean", "1", "mean(W)", tensor="effective weight")) == "mean(W)  (effective weight)"
    assert definition(Column("my_column", "1", "")) == "my column"


def test_smoothing_is_owned_up_to() -> None:
    assert with_smoothing("mean(W)", 1) == "mean(W)"
    assert with_smoothing("mean(W)", 15) == "mean(W); trailing mean of 15 records"
