"""The coordinate check: flat under maximal update parametrization, growing under the standard one."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

import meandrift as md
from analysis.figures.coordinate_check import CoordinateCheck

WIDTHS, RATE, FIRST, HIDDEN, OUTPUT = (64, 128, 256, 512), 0.01, "0", "2", "4"
NUMBERS = torch.Generator().manual_seed(0)
X, Y = torch.randn(64, 16, generator=NUMBERS), torch.randn(64, 4, generator=NUMBERS)


def loss(model: nn.Module) -> Tensor:
    return nn.functional.mse_loss(model(X), Y)


def standard_mlp(width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(16, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 4))


def standard_adam(model: nn.Module, _width: int) -> Optimizer:
    return Adam(model.parameters(), lr=RATE)


def mup_mlp(width: int) -> nn.Sequential:
    """Return the same network, whose readout starts from zero."""
    model = standard_mlp(width)
    nn.init.zeros_(model[4].weight)
    nn.init.zeros_(model[4].bias)
    return model


def mup_adam(model: nn.Module, width: int) -> Optimizer:
    """Return Adam of Table 8 of Tensor Programs V: rate 1/width where the number of inputs is the width."""
    of_width = [model[2].weight, model[4].weight]  # type: ignore[index]
    others = [*model[0].parameters(), model[2].bias, model[4].bias]  # type: ignore[index]
    return Adam([{"params": others}, {"params": of_width, "lr": RATE * WIDTHS[0] / width}], lr=RATE)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("coordinates") / "runs"


@pytest.fixture(scope="module")
def standard(store: Path) -> pd.DataFrame:
    return md.coordinate_check(
        standard_mlp, WIDTHS, make_optimizer=standard_adam, loss=loss, steps=3, seeds=2, name="standard", store=store
    )


@pytest.fixture(scope="module")
def mup(store: Path) -> pd.DataFrame:
    return md.coordinate_check(
        mup_mlp, WIDTHS, make_optimizer=mup_adam, loss=loss, steps=3, seeds=2, name="mup", store=store
    )


def slopes(table: pd.DataFrame, size: str, layer: str) -> dict[int, float]:
    """Return the slope at each step."""
    rows = table[table["layer"].astype(str) == layer]
    by_step = rows.groupby("step")[f"{size}_slope"]
    assert by_step.nunique(dropna=False).eq(1).all()
    return dict(by_step.first())


def test_sizes_are_flat_under_mup(mup: pd.DataFrame) -> None:
    for layer in (FIRST, HIDDEN, OUTPUT):
        for size in ("activation_rms", "update_rms_norm"):
            found = slopes(mup, size, layer)
            assert all(abs(found[step]) < 0.1 for step in (1, 2)), (layer, size, found)
    assert slopes(mup, "activation_rms", HIDDEN)[0] == pytest.approx(0, abs=0.1)


def test_hidden_and_output_grow_under_the_standard_parametrization(standard: pd.DataFrame) -> None:
    for layer in (HIDDEN, OUTPUT):
        assert slopes(standard, "activation_rms", layer)[0] == pytest.approx(0, abs=0.1)  # as it is made
        assert slopes(standard, "activation_rms", layer)[1] > 0.3
        assert slopes(standard, "update_rms_norm", layer)[0] == pytest.approx(1, abs=0.1)  # Adam's, of rank 1
    assert abs(slopes(standard, "activation_rms", FIRST)[1]) < 0.1


def test_sizes_are_those_of_the_network(mup: pd.DataFrame) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = mup_mlp(128)
    row = mup.query("width == 128 and seed == 1 and step == 0 and layer == '2'").iloc[0]
    hidden = model[:3](X)
    assert row["activation_rms"] == pytest.approx(float(hidden.detach().double().square().mean().sqrt()), rel=1e-6)


def test_there_is_a_row_for_each_width_seed_step_and_layer(mup: pd.DataFrame) -> None:
    assert len(mup) == len(WIDTHS) * 2 * 3 * 3
    assert not mup.duplicated(["width", "seed", "step", "layer"]).any()


def test_a_readout_that_starts_from_zero_has_no_slope_at_step_0(mup: pd.DataFrame) -> None:
    found = mup[(mup["layer"].astype(str) == OUTPUT) & (mup["step"] == 0)]
    assert (found["activation_rms"] == 0).all()
    assert found["activation_rms_slope"].isna().all()


def test_the_figure_draws_both_with_their_slopes(mup: pd.DataFrame, standard: pd.DataFrame, store: Path) -> None:
    picture = md.figure("coordinate_check", store)
    titles = [axes.get_title(loc="left") for axes in picture.axes]
    assert titles == [f"parametrization {arm}: {layer}" for layer in "024" for arm in ("mup", "standard")]
    at = dict(zip(titles, picture.axes, strict=True))
    for arm, table in (("mup", mup), ("standard", standard)):
        slope = slopes(table, "activation_rms", HIDDEN)[2]
        [text] = [text.get_text() for text in at[f"parametrization {arm}: 2"].texts]
        assert text.startswith(f"slope {slope:z.2f} ± ".replace("-", "−"))
    assert len(at["parametrization mup: 4"].containers) == 3
    assert at["parametrization mup: 4"].containers[0].lines[0].get_xdata().size == 0  # zeros have no logarithm
    assert at["parametrization mup: 4"].containers[1].lines[0].get_xdata().tolist() == list(WIDTHS)


def test_the_figure_can_show_another_size(mup: pd.DataFrame, store: Path) -> None:
    picture = md.figure("coordinate_check", store, column="update_rms_norm", runs="mup-*")
    assert picture.get_supylabel() == "update rms norm"


def test_one_width_is_nothing_to_compare(mup: pd.DataFrame, store: Path) -> None:
    with pytest.raises(ValueError, match="compares widths, and all runs have 64"):
        md.figure("coordinate_check", store, runs="mup-w64-*")
    rows = pd.DataFrame({"width": ["wide", "narrow"]})
    with pytest.raises(ValueError, match="needs one number as width of each run, not 'wide'"):
        CoordinateCheck().prepare(rows)


def test_random_numbers_of_the_caller_go_on(tmp_path: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    md.coordinate_check(
        standard_mlp, (4, 8), make_optimizer=standard_adam, loss=loss, steps=2, seeds=1, store=tmp_path / "runs"
    )
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"widths": (64,)}, "two or more different widths above 0"),
        ({"widths": (0, 64)}, "two or more different widths above 0"),
        ({"widths": (64, 64, 128)}, "expected each width once"),
        ({"steps": 1}, "at least 2 steps and 1 seed, got steps=1"),
        ({"seeds": 0}, "at least 2 steps and 1 seed, got steps=3, seeds=0"),
    ],
)
def test_what_gives_no_slope_is_refused_before_training(given: dict, message: str, tmp_path: Path) -> None:
    options = {"widths": (4, 8), "steps": 3, "seeds": 1, **given}
    with pytest.raises(ValueError, match=message):
        md.coordinate_check(standard_mlp, make_optimizer=standard_adam, loss=loss, store=tmp_path / "runs", **options)
    assert not (tmp_path / "runs").exists()


def test_runs_that_are_there_are_kept_unless_overwrite_says_so(tmp_path: Path) -> None:
    options = {"make_optimizer": standard_adam, "loss": loss, "steps": 2, "seeds": 1, "store": tmp_path / "runs"}
    first = md.coordinate_check(standard_mlp, (4, 8), **options)
    with pytest.raises(ValueError, match="coordinates-w4-s0"):
        md.coordinate_check(standard_mlp, (4, 8), **options)
    pd.testing.assert_frame_equal(md.coordinate_check(standard_mlp, (4, 8), **options, overwrite=True), first)
