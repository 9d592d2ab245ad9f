"""Trials on a local Ray of two workers, one of which is killed: each writes a partition of one store."""

from __future__ import annotations

import os
import signal
import tempfile
from pathlib import Path

import pandas as pd
import pytest
import torch

ray = pytest.importorskip("ray", reason="the extra ray is not installed")
pytest.importorskip("ray.tune")
pytestmark = [pytest.mark.frameworks, pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

STEPS, EVERY = 12, 4


@pytest.fixture(scope="module", autouse=True)
def two_workers():
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


def train(config):
    """Train from the newest checkpoint on; a trial that is to die does so once, in the step that its config names."""
    from ray import train as ray_train
    from ray import tune

    from probes.integrations.ray import trial_probe

    session = tune if config["by"] == "tune" else ray_train
    torch.manual_seed(0)
    model = torch.nn.Linear(4, 1)
    if config["by"] == "train":
        model = ray_train.torch.prepare_model(model)
    inner = getattr(model, "module", model)
    optimizer = torch.optim.Adam(model.parameters(), lr=config["lr"])
    saved, began = session.get_checkpoint(), {}
    if saved is not None:
        with saved.as_directory() as folder:
            began = torch.load(Path(folder) / "state.pt")
        inner.load_state_dict(began["model"])
        optimizer.load_state_dict(began["optimizer"])
    rank = 0 if config["by"] == "tune" else ray_train.get_context().get_world_rank()
    batches = torch.randn(STEPS, 6, 4, generator=torch.Generator().manual_seed(1))
    with trial_probe(
        model, optimizer, store=config["store"], saved=began.get("probe"), every=1, strict=True, config=config
    ) as probe:
        for step in range(began.get("step", 0), STEPS):
            loss = model(batches[step]).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            probe.log(loss=loss)
            if step == config["dies_at"] and rank == config["dies"] and not Path(config["died"]).exists():
                Path(config["died"]).touch()
                os.kill(os.getpid(), signal.SIGKILL)
            if (step + 1) % EVERY == 0:
                probe.flush()
                state = {"model": inner.state_dict(), "optimizer": optimizer.state_dict(), "step": step + 1}
                with tempfile.TemporaryDirectory() as folder:
                    torch.save({**state, "probe": probe.state_dict()}, Path(folder) / "state.pt")
                    kept = session.Checkpoint.from_directory(folder) if rank == 0 else None
                    session.report({"loss": loss.item()}, checkpoint=kept)


def rows(store, table):
    """Return the rows of each run, in order."""
    found = pd.read_parquet(store / table).drop(columns="seconds", errors="ignore").astype({"run": str})
    return {run: each.drop(columns="run").reset_index(drop=True) for run, each in found.groupby("run")}


@pytest.mark.parametrize("dies_at", [2, 9], ids=["before-a-checkpoint", "after-one"])
def test_a_trial_of_tune_that_is_killed_supersedes_its_rows(dies_at, tmp_path):
    from ray import tune

    config = {"by": "tune", "lr": 0.1, "store": str(tmp_path / "runs"), "died": str(tmp_path / "died")}
    tuner = tune.Tuner(
        tune.with_resources(train, {"cpu": 1}),
        param_space={**config, "dies": tune.grid_search([0, -1]), "dies_at": dies_at},
        run_config=tune.RunConfig(
            storage_path=str(tmp_path / "ray"), failure_config=tune.FailureConfig(max_failures=1), verbose=0
        ),
    )
    results = tuner.fit()
    assert results.num_errors == 0
    assert (tmp_path / "died").exists()
    for table in ("layers", "parameters", "steps"):
        killed, whole = rows(tmp_path / "runs", table).values()
        assert sorted(killed["step"].unique()) == list(range(STEPS))
        pd.testing.assert_frame_equal(killed, whole)
    assert pd.read_parquet(tmp_path / "runs" / "runs")["status"].tolist() == ["finished", "finished"]


def test_a_training_by_two_workers_of_which_one_is_killed_is_one_run(tmp_path):
    from ray import train as ray_train
    from ray.train.torch import TorchTrainer

    config = {"by": "train", "lr": 0.1, "store": str(tmp_path / "runs"), "died": str(tmp_path / "died")}
    trainer = TorchTrainer(
        train,
        train_loop_config={**config, "dies": 1, "dies_at": 9},
        scaling_config=ray_train.ScalingConfig(num_workers=2, use_gpu=False),
        run_config=ray_train.RunConfig(
            name="two-workers",
            storage_path=str(tmp_path / "ray"),
            failure_config=ray_train.FailureConfig(max_failures=1),
        ),
    )
    trainer.fit()
    assert (tmp_path / "died").exists()
    for table in ("layers", "steps"):
        found = rows(tmp_path / "runs", table)
        assert list(found) == ["two-workers"]
        assert found["two-workers"]["step"].tolist() == list(range(STEPS))
    assert pd.read_parquet(tmp_path / "runs" / "runs")["status"].tolist() == ["finished"]
