from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analysis.paper.paper_tables import accuracy_table, parameter_table


@pytest.fixture
def sweep(make_store: Callable[..., Path]) -> Path:
    return make_store(learning_rates=(0.1, 0.001), seeds=(0, 1, 2), records=6)


def test_accuracy_is_that_of_the_best_learning_rate_averaged_over_seeds(sweep: Path) -> None:
    rows = pd.read_parquet(sweep / "steps").query("split == 'test'").astype({"run": str})
    best = rows.groupby("run")["accuracy"].max()
    table = accuracy_table(sweep).set_index("norm")
    for norm in ("bn", "sn", "msn"):
        rates = {rate: best[[f"{norm}-lr{rate:g}-s{seed}" for seed in range(3)]] for rate in (0.1, 0.001)}
        rate = max(rates, key=lambda rate: rates[rate].mean())
        assert table.loc[norm, "learning_rate"] == rate
        assert table.loc[norm, "accuracy"] == pytest.approx(rates[rate].mean())
        assert table.loc[norm, "std"] == pytest.approx(rates[rate].std(ddof=1))
        assert table.loc[norm, "runs"] == 3


def test_accuracies_stand_beside_the_papers(sweep: Path) -> None:
    table = accuracy_table(sweep).set_index("norm")
    assert table["published"].to_dict() == {"bn": 0.9828, "sn": 0.8955, "msn": 0.9671}
    np.testing.assert_allclose(table["difference"], table["accuracy"] - table["published"])


def test_what_the_paper_did_not_train_has_no_published_number(make_store: Callable[..., Path]) -> None:
    table = accuracy_table(make_store(model="densenet", norms=["bn"], records=3))
    assert table["published"].isna().all()
    assert table["difference"].isna().all()


def test_one_run_has_no_deviation(small_store: Path) -> None:
    assert accuracy_table(small_store)["std"].isna().all()


def test_norms_come_in_the_papers_order(sweep: Path) -> None:
    assert accuracy_table(sweep)["norm"].tolist() == ["bn", "sn", "msn"]


def test_runs_without_a_norm_raise(make_store: Callable[..., Path]) -> None:
    with pytest.raises(ValueError, match="no run has the setting norm in its configuration"):
        accuracy_table(make_store(with_config=False, records=2))


def test_a_store_without_test_accuracy_raises(tmp_path: Path) -> None:
    folder = tmp_path / "steps" / "run=a"
    folder.mkdir(parents=True)
    split = pa.array(["train"]).dictionary_encode()
    pq.write_table(pa.table({"step": [0], "split": split, "accuracy": [0.5]}), folder / "part-0.parquet")
    with pytest.raises(
        ValueError, match="Table I needs accuracy with split 'test' in table 'steps'; the store has none"
    ):
        accuracy_table(tmp_path)


def write_runs(store: Path, *configs: dict[str, object]) -> Path:
    for place, config in enumerate(configs):
        folder = store / "runs" / f"run=r{place}"
        folder.mkdir(parents=True)
        pq.write_table(pa.table({"config": [json.dumps(config)]}), folder / "part-0.parquet")
    return store


def test_parameters_stand_beside_the_papers(tmp_path: Path) -> None:
    cnn = {"model": "cnn3", "norm": "bn", "parameters": 103_562}
    store = write_runs(
        tmp_path, cnn, {**cnn, "norm": "msn", "parameters": 103_482}, {**cnn, "model": "gan", "norm": "sn"}
    )
    table = parameter_table(store).set_index(["model", "norm"])
    assert table.loc[("cnn3", "bn"), ["parameters", "published", "difference"]].tolist() == [103_562, 103_562, 0]
    assert table.loc[("cnn3", "msn"), "difference"] == -4
    assert table.loc[("critic", "sn"), "published"] == 2_935_873


def test_runs_that_do_not_carry_their_parameters_raise(small_store: Path) -> None:
    with pytest.raises(ValueError, match="Table III needs parameters in the configuration of runs; `meandrift params`"):
        parameter_table(small_store)


def test_parameters_that_differ_within_a_norm_raise(tmp_path: Path) -> None:
    runs = [{"model": "cnn3", "norm": "bn", "parameters": count} for count in (1, 2)]
    with pytest.raises(ValueError, match="runs of cnn3 with bn differ in their parameters"):
        parameter_table(write_runs(tmp_path, *runs))
