"""The GAN figures: their numbers against plain pandas, their artists read back."""

from __future__ import annotations

import json
from pathlib import Path

import matplotlib.image
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from analysis.figures.gan_samples import read_grid
from analysis.gallery.figure import prepare
from analysis.gallery.provenance import table_text
from analysis.plotting.style import GREY, INK, norm_style
from analysis.reading.sample_grids import sample_grids
from probes.schema import STEPS, STEPS_COLUMNS, Column, arrow_schema

CURVES = ("gan_losses", "gan_outputs", "gan_scores", "gan_gradients", "gan_bounds")
TRAINING = ("critic_loss", "generator_loss", "critic_real", "critic_fake")
GRADIENTS = ("critic_gradient_real", "critic_gradient_fake", "critic_gradient_between")
SCORED = ("fid_resnet20", "is_resnet20", *GRADIENTS, "critic_lipschitz_bound", "critic_unfolded_product")
NORMS = ("bn", "sn", "msn")


def steps_of(norm: str, seed: int, *, steps: int = 60, real_distance: float) -> pd.DataFrame:
    """Table ``steps`` of a made-up run: a row a step, scores every twentieth, real images' scores at the start."""
    rng = np.random.default_rng([NORMS.index(norm), seed])
    train = pd.DataFrame({"step": np.arange(steps), "split": "train"})
    for place, name in enumerate(TRAINING):
        train[name] = place + rng.normal(0, 0.1, steps)
    scored = np.arange(0, steps + 1, 20)
    test = pd.DataFrame({"step": scored, "split": "test"})
    for name in SCORED:
        test[name] = np.exp(rng.normal(0, 0.3, len(scored)))
    real = pd.DataFrame({"step": [0], "split": ["real"], "fid_resnet20": [real_distance], "is_resnet20": [8.0]})
    return pd.concat([real, train, test], ignore_index=True).assign(epoch=0)


def write_store(
    store: Path, *, seeds: int = 1, grids: bool = True, real_distance: float = 0.25
) -> dict[str, pd.DataFrame]:
    """Write a store of GAN runs; return its tables ``steps`` by run."""
    written = {}
    columns = (*STEPS_COLUMNS, *(Column(name, "1", "logged", type=pa.float64()) for name in (*TRAINING, *SCORED)))
    for norm in NORMS:
        for seed in range(seeds):
            run, rows = f"gan-{norm}-s{seed}", steps_of(norm, seed, real_distance=real_distance)
            rows = rows.reindex(columns=[field.name for field in arrow_schema(STEPS, columns)])
            tables = {
                "steps": pa.Table.from_pandas(rows, schema=arrow_schema(STEPS, columns), preserve_index=False),
                "runs": pa.table({"status": ["finished"], "config": [json.dumps(config_of(norm, seed))]}),
            }
            for table, content in tables.items():
                folder = store / table / f"run={run}"
                folder.mkdir(parents=True)
                pq.write_table(content, folder / "part-0.parquet")
            if grids:
                write_grids(store / "samples" / f"run={run}", shade=NORMS.index(norm) / 4)
            written[run] = rows
    return written


def config_of(norm: str, seed: int) -> dict[str, object]:
    return {"model": "gan", "data": "cifar10", "norm": norm, "seed": seed}


def write_grids(folder: Path, *, shade: float) -> None:
    folder.mkdir(parents=True)
    for step in (0, 60):
        matplotlib.image.imsave(folder / f"step-{step:08d}.png", np.full((256, 256, 3), shade + step / 200))


def drawn(name: str, store: Path, **options: object) -> Figure:
    figure = prepare(name, store, **options).draw()
    FigureCanvasAgg(figure).draw()
    return figure


def panels(figure: Figure) -> list[Axes]:
    return [axes for axes in figure.axes if axes.get_visible()]


def curves(axes: Axes) -> dict[str, np.ndarray]:
    """Ordinates of the drawn curves by colour; they are collections of line pieces."""
    found = {}
    for lines in axes.collections:
        if isinstance(lines, LineCollection):
            for piece, color in zip(lines.get_segments(), lines.get_colors(), strict=False):
                found[to_hex(color).upper()] = piece[:, 1]
    return found


def levels(axes: Axes) -> list[float]:
    """Heights of the horizontal lines."""
    return [float(line.get_ydata()[0]) for line in axes.get_lines() if len(set(line.get_ydata())) == 1]


def test_losses_are_the_recorded_ones_smoothed_by_a_trailing_mean(tmp_path: Path) -> None:
    rows = write_store(tmp_path)["gan-sn-s0"]
    table = prepare("gan_losses", tmp_path, smooth=5).table
    mine = table[(table["norm"] == "sn") & (table["quantity"] == "critic_loss")].set_index("step")["mean"]
    train = rows[rows["split"] == "train"].set_index("step")["critic_loss"]
    pd.testing.assert_series_equal(mine, train.rolling(5, min_periods=1).mean(), check_names=False, rtol=1e-12)


@pytest.mark.parametrize(
    ("name", "solid", "dashed"),
    [("gan_outputs", "critic_real", "critic_fake"), ("gan_losses", "critic_loss", "generator_loss")],
)
def test_each_norm_has_a_panel_with_two_lines_on_its_own_scale(
    name: str, solid: str, dashed: str, tmp_path: Path
) -> None:
    written = write_store(tmp_path)
    figure = drawn(name, tmp_path, smooth=1)
    assert [axes.get_title(loc="left") for axes in panels(figure)] == ["BN", "SN", "MSN"]
    for axes, norm in zip(panels(figure), NORMS, strict=True):
        train = written[f"gan-{norm}-s0"].query("split == 'train'")
        np.testing.assert_allclose(curves(axes)[INK.upper()], train[solid])
        np.testing.assert_allclose(curves(axes)[GREY.upper()], train[dashed])
    assert len({axes.get_ylim() for axes in panels(figure)}) == 3


def test_seeds_of_one_norm_are_averaged(tmp_path: Path) -> None:
    written = write_store(tmp_path, seeds=3)
    table = prepare("gan_scores", tmp_path).table
    mine = table[(table["norm"] == "bn") & (table["quantity"] == "fid_resnet20")].set_index("step")
    values = pd.concat([written[f"gan-bn-s{seed}"] for seed in range(3)]).query("split == 'test'")
    groups = values.groupby("step")["fid_resnet20"]
    np.testing.assert_allclose(mine["mean"], groups.mean(), rtol=1e-12)
    np.testing.assert_allclose(mine["spread"], groups.std(), rtol=1e-12)


def test_scores_of_real_images_are_a_line_and_no_part_of_the_curves(tmp_path: Path) -> None:
    written = write_store(tmp_path)
    figure = drawn("gan_scores", tmp_path)
    axes = next(axes for axes in panels(figure) if axes.get_title(loc="left").startswith("fid_resnet20"))
    expected = written["gan-sn-s0"].query("split == 'test'")["fid_resnet20"]
    np.testing.assert_allclose(curves(axes)[norm_style("sn")[0]], expected)
    assert levels(axes) == [0.25]
    low, high = axes.get_ylim()
    assert low < 0.25 < high
    assert axes.get_yscale() == "log"


def test_real_images_far_below_the_curves_are_written_not_drawn(tmp_path: Path) -> None:
    write_store(tmp_path, real_distance=1e-4)
    axes = next(a for a in panels(drawn("gan_scores", tmp_path)) if a.get_title(loc="left").startswith("fid_resnet20"))
    assert levels(axes) == []
    assert [text.get_text() for text in axes.texts] == ["real images: 0.0001"]


def test_gradients_are_drawn_with_the_line_of_one(tmp_path: Path) -> None:
    written = write_store(tmp_path)
    figure = drawn("gan_gradients", tmp_path)
    assert [axes.get_title(loc="left") for axes in panels(figure)] == [
        "at real images",
        "at generated images",
        "between them",
    ]
    for axes, column in zip(panels(figure), GRADIENTS, strict=True):
        expected = written["gan-msn-s0"].query("split == 'test'")[column]
        np.testing.assert_allclose(curves(axes)[norm_style("msn")[0]], expected)
        assert levels(axes) == [1.0]


def test_the_bound_stands_left_of_the_gradient_it_bounds(tmp_path: Path) -> None:
    written = write_store(tmp_path)["gan-bn-s0"].query("split == 'test'")
    bound, gradient, product = panels(drawn("gan_bounds", tmp_path))
    np.testing.assert_allclose(curves(bound)[norm_style("bn")[0]], written["critic_lipschitz_bound"])
    np.testing.assert_allclose(curves(gradient)[norm_style("bn")[0]], written["critic_gradient_between"])
    np.testing.assert_allclose(curves(product)[norm_style("bn")[0]], written["critic_unfolded_product"])


@pytest.mark.parametrize("name", ["gan_bounds", "gan_gradients"])
def test_what_is_compared_is_on_one_scale(name: str, tmp_path: Path) -> None:
    write_store(tmp_path)
    figure = drawn(name, tmp_path)
    assert len({axes.get_ylim() for axes in panels(figure)}) == 1
    assert "[output / pixel value]" in figure.get_supylabel()


def test_smoothed_bounds_say_so(tmp_path: Path) -> None:
    write_store(tmp_path)
    assert any(
        "trailing mean of 2 records" in text.get_text() for text in drawn("gan_bounds", tmp_path, smooth=2).texts
    )


def test_samples_show_the_last_grid_of_each_run_side_by_side(tmp_path: Path) -> None:
    write_store(tmp_path)
    figure = drawn("gan_samples", tmp_path, rows=2, across=4)
    assert [axes.get_title(loc="left") for axes in panels(figure)] == ["BN, 60 steps", "SN, 60 steps", "MSN, 60 steps"]
    for place, axes in enumerate(panels(figure)):
        (image,) = axes.get_images()
        assert image.get_array().shape == (64, 128, 3)
        assert float(image.get_array().mean()) == pytest.approx(place / 4 + 0.3, abs=0.01)


def test_grids_are_listed_by_run_and_step(tmp_path: Path) -> None:
    write_store(tmp_path)
    grids = sample_grids(tmp_path)
    assert list(grids.columns) == ["run", "step", "path"]
    assert grids["step"].tolist() == [0, 60] * 3
    assert read_grid(grids["path"][0], rows=99, columns=99).shape == (256, 256, 3)


@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize("name", [*CURVES, "gan_samples"])
def test_a_figure_is_legible(name: str, seeds: int, tmp_path: Path) -> None:
    write_store(tmp_path, seeds=seeds)
    figure = drawn(name, tmp_path)
    titles = [axes.get_title(loc="left") for axes in panels(figure)]
    assert not any(title.startswith("…") for title in titles), f"cut off: {titles}"
    page = figure.bbox.padded(2)
    for text in [*figure.texts, *(label for legend in figure.legends for label in legend.get_texts())]:
        box = text.get_window_extent()
        assert page.x0 <= box.x0, text.get_text()
        assert box.x1 <= page.x1, text.get_text()
    if name in CURVES[2:]:
        labels = [label.get_text() for legend in figure.legends for label in legend.get_texts()]
        assert labels[:3] == ["BN", "SN", "MSN"]


@pytest.mark.parametrize("name", [*CURVES, "gan_samples"])
def test_one_store_gives_one_table(name: str, tmp_path: Path) -> None:
    write_store(tmp_path)
    one, two = (prepare(name, tmp_path) for _ in range(2))
    assert table_text(one.table) == table_text(two.table)
    assert len(one.table)


def test_a_store_without_scores_names_the_columns_it_wants(small_store: Path) -> None:
    with pytest.raises(ValueError, match=r"figure 'gan_scores' needs a column like fid_\*, is_\*, kid_\*"):
        prepare("gan_scores", small_store)


def test_runs_without_scores_are_said_to_have_none(tmp_path: Path) -> None:
    write_store(tmp_path)
    with pytest.raises(ValueError, match=r"no score was measured in these runs; train with an extractor"):
        prepare("gan_scores", tmp_path, steps=(1, 19))


def test_a_store_without_grids_says_where_they_would_be(tmp_path: Path) -> None:
    write_store(tmp_path, grids=False)
    with pytest.raises(ValueError, match=r"has no sample grids \(samples/run=<id>/step-<step>.png\)"):
        drawn("gan_samples", tmp_path)


def test_grids_of_other_runs_are_not_taken(tmp_path: Path) -> None:
    write_store(tmp_path, grids=False)
    write_grids(tmp_path / "samples" / "run=another", shade=0.1)
    with pytest.raises(
        ValueError, match=r"figure 'gan_samples': no sample grids of runs gan-bn-s0, gan-sn-s0, gan-msn-s0"
    ):
        drawn("gan_samples", tmp_path)
