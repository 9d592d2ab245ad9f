from __future__ import annotations

import pandas as pd
import pytest

from analysis.summaries.layer_choice import (
    in_depth_order,
    is_normalisation,
    readable,
    weight_layers,
    with_choice,
)


def table(*layers: tuple[str, str], arm: str = "A") -> pd.DataFrame:
    return pd.DataFrame(
        {
            "arm": arm,
            "layer": [name for name, _ in layers],
            "layer_index": range(len(layers)),
            "layer_type": [kind for _, kind in layers],
        }
    )


BN = table(("conv1", "Conv2d"), ("bn1", "BatchNorm2d"), ("conv2", "Conv2d"), ("bn2", "BatchNorm2d"), ("fc", "Linear"))
SN = table(("conv1", "Conv2d"), ("conv2", "Conv2d"), ("fc", "Linear"), arm="B")


@pytest.mark.parametrize("kind", ["BatchNorm1d", "LayerNorm", "RMSNorm", "GroupNorm", "MeanCentring", "BatchCentering"])
def test_modules_that_normalise_or_centre_are_known(kind: str) -> None:
    assert is_normalisation(kind)


@pytest.mark.parametrize("kind", ["Conv2d", "Linear", "MultiheadAttention", "Embedding", "ConvTranspose2d"])
def test_modules_with_a_weight_matrix_are_none_of_them(kind: str) -> None:
    assert not is_normalisation(kind)


def test_depth_orders_layers_and_names_break_ties() -> None:
    both = pd.concat([table(("b", "x")), table(("a", "x")), table(("c", "x"), ("d", "x"))])
    assert in_depth_order(both) == ["a", "b", "c", "d"]


def test_weight_layers_are_those_that_do_not_normalise() -> None:
    assert weight_layers(BN, None)["layer"].tolist() == ["conv1", "conv2", "fc"]


def test_layers_asked_for_are_all_kept() -> None:
    pd.testing.assert_frame_equal(weight_layers(BN, "bn*"), BN)
    pd.testing.assert_frame_equal(readable(BN, "bn*", most=1), BN)


def test_a_network_of_nothing_but_norms_is_kept_whole() -> None:
    norms = table(("n1", "LayerNorm"), ("n2", "LayerNorm"))
    pd.testing.assert_frame_equal(weight_layers(norms, None), norms)


def test_a_readable_choice_keeps_input_and_output() -> None:
    assert readable(BN, None, most=2)["layer"].tolist() == ["conv1", "fc"]


def test_a_choice_says_how_many_it_leaves_out() -> None:
    assert with_choice("mean(W)", readable(BN, None, most=2), of=5) == "mean(W); 2 of 5 layers"
    assert with_choice("mean(W)", readable(BN, None, most=9), of=5) == "mean(W)"
