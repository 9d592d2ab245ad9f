"""A training that records to S3, and everything that reads a store, at its URL."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import nn

import analysis
from dynamics import cli
from probes import Probe
from probes.storage.files import open_store


def train(url: str, run: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    config = {"model": "mlp", "data": "noise", "norm": run}
    with Probe(model, optimizer, store=url, run=run, every=1, config=config) as probe:
        for step in range(6):
            loss = model(torch.randn(32, 8)).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            probe.log(loss=loss, accuracy=step / 10)
            probe.log(split="test", loss=loss, accuracy=step / 10)


@pytest.fixture
def store(url: str) -> str:
    """A store of two runs on S3."""
    for run in ("bn", "sn"):
        train(url, run)
    return url


def test_every_command_reads_a_store_on_s3(store, tmp_path, capsys):
    """One test, because to record is most of it."""

    def said(*words: str) -> str:
        assert cli.run(list(words)) == 0, capsys.readouterr().err
        return capsys.readouterr().out

    assert "finished" in said("runs", store)
    assert said("verify", "--store", store).endswith(" 0 faults\n")
    assert "train" in said("watch", store, "--once")
    assert "0 grave" in said("check", store, "--threshold", "dead=1.0")
    drawn = said(
        "figures",
        store,
        "--only",
        "layer_means,gradient_histograms,accuracy",
        "--format",
        "svg",
        "--out",
        str(tmp_path),
    )
    assert {Path(file).name for file in drawn.split()} >= {"layer_means.svg", "gradient_histograms.svg", "accuracy.svg"}
    assert "report.html" in said("report", store, "-o", str(tmp_path / "report.html"))
    assert "12" in said("query", "SELECT count(*) FROM steps WHERE split = 'test'", "--store", store)
    said("export", str(tmp_path / "layers.csv"), "--store", store)
    assert set(pd.read_csv(tmp_path / "layers.csv")["run"]) == {"bn", "sn"}
    assert "compact" not in said("compact", "--store", store)
    assert said("rm", "sn", "--store", store) == "deleted sn\n"
    assert analysis.runs(store)["run"].tolist() == ["bn"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the engine's own
def test_dask_reads_a_store_on_s3(store):
    dd = pytest.importorskip("dask.dataframe", reason="pip install 'dask[dataframe]'")
    files = open_store(store)
    rows = dd.read_parquet(f"{files.root}/layers", filesystem=files.filesystem, filters=[("run", "==", "bn")])
    assert sorted(set(rows["step"].compute())) == list(range(6))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the engine's own
def test_ray_data_reads_a_store_on_s3(store):
    ray = pytest.importorskip("ray.data", reason="pip install 'ray[data]'")
    files = open_store(store)
    rows = ray.read_parquet(f"{files.root}/layers", filesystem=files.filesystem).to_pandas()
    assert sorted(set(rows["step"])) == list(range(6))
    assert set(rows["run"]) == {"bn", "sn"}


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("ignore")  # the engine's own
def test_a_sweep_on_ray_records_to_s3(url, tmp_path):
    pytest.importorskip("ray", reason="the extra ray is not installed")
    from dynamics.classifier.config import RunConfig
    from dynamics.runtime.events import Ended
    from dynamics.sweeps.grid import grid
    from dynamics.sweeps.ray_cluster import sweep_on_ray
    from dynamics.sweeps.task import task_for

    base = RunConfig(epochs=1, train_images=20, batch_size=50, every=1, bracket_every=0)
    tasks = [task_for(url, run, config) for run, config in grid(base, {"norm": ["bn", "sn"]}).items()]
    ends = sweep_on_ray(tasks, store=url, data_dir=tmp_path)
    assert all(isinstance(end, Ended) for end in ends), ends
    assert set(analysis.layers(url)["run"]) == {task.run for task in tasks}
