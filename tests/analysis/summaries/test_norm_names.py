from __future__ import annotations

import pytest

from analysis.summaries.norm_names import NORM_ORDER, norm_label
from dynamics.norms import NORMS


@pytest.mark.parametrize(
    ("norm", "label"), [("msn", "MSN"), ("none", "no norm"), ("released_msn", "released MSN"), ("mine", "mine")]
)
def test_a_norm_has_its_name_in_figures_and_an_unknown_one_keeps_its_own(norm: str, label: str) -> None:
    assert norm_label(norm) == label


def test_every_norm_with_a_place_has_a_name() -> None:
    assert all(norm_label(norm) != norm for norm in NORM_ORDER)


def test_every_norm_that_can_be_trained_has_a_place_and_a_name() -> None:
    trained = {norm.removeprefix("released_") for norm in NORMS}
    assert trained == set(NORM_ORDER)
