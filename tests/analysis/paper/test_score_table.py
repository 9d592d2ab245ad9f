"""Table II from a store: last scores, extractors kept apart, the paper's numbers beside them."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analysis.paper.score_table import score_table


def write_run(store: Path, run: str, rows: list[dict], **config: object) -> None:
    """Write tables ``steps`` and ``runs`` of one run."""
    for table, content in (("steps", rows), ("runs", [{"status": "finished", "config": json.dumps(config)}])):
        folder = store / table / f"run={run}"
        folder.mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(content), folder / "part-0.parquet")


def row(step: int, split: str = "test", **values: float) -> dict:
    return {"step": step, "epoch": 0, "split": split, **values}


@pytest.fixture
def store(tmp_path: Path) -> Path:
    write_run(
        tmp_path,
        "sn-0",
        [
            row(0, "real", is_resnet20=8.0, is_resnet20_std=0.5, fid_resnet20=1.0, fid_resnet20_std=0.25),
            row(0, is_resnet20=1.0, is_resnet20_std=None, fid_resnet20=60.0, fid_resnet20_std=None),
            row(9, is_resnet20=3.0, is_resnet20_std=0.1, fid_resnet20=20.0, fid_resnet20_std=0.2),
        ],
        norm="sn",
        data="cifar10",
        seed=0,
    )
    write_run(tmp_path, "sn-1", [row(9, is_resnet20=5.0, is_resnet20_std=0.3)], norm="sn", data="cifar10", seed=1)
    write_run(tmp_path, "bn-0", [row(9, is_inception=6.0, fid_inception=45.0)], norm="bn", data="cifar10", seed=0)
    write_run(tmp_path, "bn-m", [row(9, fid_cnn_mnist=4.0, fid_cnn_mnist_std=0.5)], norm="bn", data="mnist", seed=0)
    return tmp_path


def test_the_last_scores_are_averaged_over_runs_of_one_norm_data_set_and_extractor(store: Path) -> None:
    table = score_table(store).set_index(["data", "norm", "extractor"])
    sn = table.loc[("cifar10", "sn", "resnet20")]
    assert (sn["inception_score"], sn["inception_score_std"], sn["runs"]) == (4.0, pytest.approx(0.2), 2)
    assert (sn["frechet_distance"], sn["frechet_distance_std"]) == (20.0, 0.2)
    assert table.loc[("mnist", "bn", "cnn_mnist"), "frechet_distance"] == 4.0


def test_real_images_have_a_row_of_their_own_on_top(store: Path) -> None:
    table = score_table(store)
    assert table["norm"].tolist() == ["real", "bn", "sn", "bn"]
    real = table.iloc[0]
    assert (real["inception_score"], real["frechet_distance"], real["published_fid"]) == (8.0, 1.0, 7.8)


def test_only_inception_features_of_cifar10_are_set_against_the_paper(store: Path) -> None:
    table = score_table(store).set_index(["data", "norm", "extractor"])
    assert table.loc[("cifar10", "bn", "inception"), "frechet_distance_difference"] == pytest.approx(45.0 - 41.3)
    assert table.loc[("cifar10", "bn", "inception"), "inception_score_difference"] == pytest.approx(6.0 - 6.42)
    assert math.isnan(table.loc[("cifar10", "sn", "resnet20"), "frechet_distance_difference"])
    assert math.isnan(table.loc[("mnist", "bn", "cnn_mnist"), "frechet_distance_difference"])


def test_the_papers_column_stands_beside_ours(store: Path) -> None:
    table = score_table(store).set_index(["data", "norm"])
    published = ["published_is", "published_is_std", "published_fid"]
    assert table.loc[("cifar10", "sn"), published].tolist() == [7.42, 0.08, 29.3]
    assert table.loc[("mnist", "bn"), published].isna().all(), "the paper generated no digits"


def test_a_nan_score_stays_nan(tmp_path: Path) -> None:
    write_run(tmp_path, "sn-0", [row(0, fid_resnet20=9.0), row(5, fid_resnet20=float("nan"))], norm="sn", data="mnist")
    table = score_table(tmp_path)
    assert table["frechet_distance"].isna().tolist() == [True]


def test_one_diverged_run_is_not_averaged_away(tmp_path: Path) -> None:
    for seed, value in enumerate((9.0, float("nan"))):
        write_run(tmp_path, f"sn-{seed}", [row(0, fid_resnet20=value)], norm="sn", data="mnist", seed=seed)
    table = score_table(tmp_path)
    assert table["runs"].tolist() == [2]
    assert table["frechet_distance"].isna().tolist() == [True]


def test_runs_are_chosen_by_pattern(store: Path) -> None:
    assert score_table(store, runs="sn-1")["inception_score"].tolist() == [5.0]


def test_a_store_without_scores_says_what_it_has(tmp_path: Path) -> None:
    write_run(tmp_path, "sn-0", [row(0, loss=1.0)], norm="sn")
    with pytest.raises(ValueError, match=r"Table II needs scores \(is_\*, fid_\*\) in table 'steps'; it has: loss"):
        score_table(tmp_path)


def test_runs_without_a_norm_are_named(tmp_path: Path) -> None:
    write_run(tmp_path, "a", [row(0, fid_resnet20=1.0)], data="mnist")
    with pytest.raises(ValueError, match=r"no run has the setting norm in its configuration"):
        score_table(tmp_path)


def test_the_table_is_a_data_frame_that_the_writers_take(store: Path) -> None:
    from analysis.paper.table_book import write_tables

    book = write_tables(store, only=["scores"], formats=["md"])
    assert "resnet20" in book.texts[0]
    assert isinstance(score_table(store), pd.DataFrame)
