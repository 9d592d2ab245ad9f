from __future__ import annotations

import pytest

from dynamics.classifier.config import RunConfig
from dynamics.sweeps.grid import grid, parse_axes


def test_a_grid_is_every_combination_under_a_name_of_its_own() -> None:
    axes = parse_axes({"norm": "bn, sn", "learning_rate": "0.1,0.001", "epochs": "3"})
    assert axes == {"norm": ["bn", "sn"], "learning_rate": [0.1, 0.001], "epochs": [3]}
    assert grid(RunConfig(), axes) == {
        f"cnn3-mnist-subset-{norm}-lr{rate:g}-s0": RunConfig(norm=norm, learning_rate=rate, epochs=3)
        for norm in ("bn", "sn")
        for rate in (0.1, 0.001)
    }


def test_names_tell_other_settings_that_vary() -> None:
    runs = grid(RunConfig(norm="bn"), parse_axes({"batch_size": "32,64", "compile": "no"}))
    assert list(runs) == [
        "cnn3-mnist-subset-bn-lr0.001-s0-batch_size32",
        "cnn3-mnist-subset-bn-lr0.001-s0-batch_size64",
    ]


def test_layer_patterns_are_one_value() -> None:
    assert parse_axes({"include": "*.conv,classifier"}) == {"include": ["*.conv,classifier"]}


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"seed": "0,one"}, "seed '0,one': expected whole numbers, commas between"),
        ({"learning_rate": ""}, "learning_rate '': expected numbers, commas between"),
        ({"compile": "yes,maybe"}, "compile 'yes,maybe': expected yes or no, commas between"),
        ({"seed": "1,1"}, "seed '1,1': expected each value once"),
    ],
)
def test_values_that_are_none_are_told(option: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_axes(option)
