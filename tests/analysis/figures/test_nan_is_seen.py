"""A measured NaN is seen in every figure, and what was not measured is no NaN."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from matplotlib.figure import Figure

from analysis.figures import FIGURES
from analysis.gallery.figure import figure, prepare

PLAIN = [
    name
    for name in FIGURES
    if name not in {"learning_rates", "coordinate_check", "residual_map"} and not name.startswith("gan_")
]
BROKEN_AT = 450  # the last of ten records
# Columns of table `steps` that a figure may draw.
NETWORK = ("accuracy", "spectral_complexity", "margin_bound", "lipschitz_bound", "unfolded_product", "jacobian_norm")
LANDSCAPE = ("loss_along_gradient_max", "gradient_change_max", "effective_smoothness", "hessian_top_eigenvalue")


def replace(store: Path, table: str, run: str, columns: Sequence[str], value: float | None, *, step: int) -> None:
    """Write a value, or null, into columns of a run's part at one step."""
    part = store / table / f"run={run}" / "part-0.parquet"
    rows = pq.read_table(part)
    at = np.array(rows["step"]) == step
    for name in columns:
        place, field = rows.schema.get_field_index(name), rows.schema.field(name)
        new = pa.array(
            [value if here else old for here, old in zip(at, rows[name].to_pylist(), strict=True)], field.type
        )
        rows = rows.set_column(place, field, new)
    pq.write_table(rows, part)


@pytest.fixture
def broken(make_store: Callable[..., Path]) -> Path:
    """A store of two runs, of which SN's is NaN at its last two records."""
    store = make_store(norms=["bn", "sn"], records=10, nan_from={"sn-s0": 8}, model="cnn3")
    replace(store, "steps", "sn-s0", (*NETWORK, *LANDSCAPE), np.nan, step=BROKEN_AT)
    return store


def words(picture: Figure) -> str:
    texts = [*picture.texts, *(text for legend in picture.legends for text in legend.get_texts())]
    return " ".join(text.get_text() for text in [*texts, *(text for axes in picture.axes for text in axes.texts)])


@pytest.mark.parametrize("name", PLAIN)
def test_a_measured_nan_is_said(name: str, broken: Path) -> None:
    runs = "sn-s0" if name == "norms_by_layer" else None  # with BN it shows the last step that both were measured at
    assert "NaN" in words(figure(name, broken, runs=runs))


def test_a_measured_nan_of_the_residual_stream_is_said(make_store: Callable[..., Path]) -> None:
    store = make_store(norms=["bn"], records=10, nan_from={"bn-s0": 8}, model="cnn3")  # SN has no norm to show
    assert "NaN" in words(figure("residual_map", store))


@pytest.mark.parametrize(
    ("name", "column"),
    [("lipschitz", "lipschitz_bound"), ("complexity", "margin_bound"), ("landscape", "hessian_top_eigenvalue")],
)
def test_a_null_of_the_network_is_left_out_and_a_nan_is_not(
    name: str, column: str, make_store: Callable[..., Path]
) -> None:
    for value, expected in ((None, 0), (np.nan, 1)):
        store = make_store(str(expected), norms=["sn"], records=10)
        replace(store, "steps", "sn-s0", [column], value, step=BROKEN_AT)
        table = prepare(name, store).table
        mine = table[table["quantity"] == column]
        assert (BROKEN_AT in set(mine["step"])) == bool(expected)
        assert mine["nan_runs"].sum() == expected


@pytest.mark.parametrize("tensor", ["weight", "activation"])
def test_a_null_mean_is_left_out_and_a_nan_is_not(tensor: str, make_store: Callable[..., Path]) -> None:
    columns = [f"{tensor}_mean", f"{tensor}_var"]
    for value, expected in ((None, False), (np.nan, True)):
        store = make_store(f"{expected}", norms=["sn"], records=10)
        replace(store, "layers", "sn-s0", columns, value, step=BROKEN_AT)
        means = prepare("layer_means", store).table
        mine = means[(means["tensor"] == tensor) & (means["step"] == BROKEN_AT)]
        assert bool(mine["nan_runs"].sum()) == expected
        assert bool(len(mine)) == expected
        drift = prepare("drift_by_depth", store).table
        assert drift.loc[drift["tensor"] == tensor, "drift"].isna().all() == expected


def test_a_line_by_depth_ends_at_a_nan_and_does_not_bridge_it(make_store: Callable[..., Path]) -> None:
    store = make_store(norms=["sn"], records=10)
    part = store / "layers" / "run=sn-s0" / "part-0.parquet"
    rows = pd.read_parquet(part)
    wrong = (rows["layer"] == "block2.conv") & (rows["step"] == BROKEN_AT)
    table = pq.read_table(part)
    place = table.schema.get_field_index("weight_mean")
    values = pa.array(np.where(wrong, np.nan, rows["weight_mean"]).astype(np.float32))
    pq.write_table(table.set_column(place, table.schema.field(place), values), part)
    axes = figure("drift_by_depth", store).axes[1]
    drawn = sorted(tuple(np.round(line.get_xdata(), 2)) for line in axes.lines if line.get_marker() == "o")
    assert drawn == [(0.0,), (0.67, 1.0)]
    assert "SN: NaN in 1 of 4 layers" in [text.get_text() for text in axes.texts]
    (cross,) = [dots for dots in axes.collections if len(dots.get_offsets()) == 1]
    assert cross.get_offsets()[0][0] == pytest.approx(1 / 3, abs=1e-5)


def test_operator_norms_that_are_nan_are_named(make_store: Callable[..., Path]) -> None:
    store = make_store(norms=["sn"], records=11)
    replace(store, "layers", "sn-s0", ["operator_norm"], np.nan, step=500)
    assert (prepare("norms_by_layer", store).table["nan_runs"] > 0).sum() == 3  # the convolutions
