"""What only a GPU can show."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import torch

from dynamics.classifier.config import RunConfig
from dynamics.classifier.run import run
from dynamics.runtime.checkpoint import checkpoint_path
from dynamics.runtime.stored_run import stored_run

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_a_run_on_a_gpu_learns_in_every_precision(gpu: str, precision: str, tiny_data: str, tmp_path: Path) -> None:
    config = RunConfig(data=tiny_data, batch_size=16, epochs=12, every=1, device=gpu, precision=precision)
    run(config, store=tmp_path, name="gpu")
    found = stored_run(tmp_path, "gpu")
    assert found is not None
    assert found.status == "finished"
    steps = pd.read_parquet(tmp_path / "steps")
    assert steps.loc[steps["split"] == "test", "accuracy"].max() > 0.9
    layers = pd.read_parquet(tmp_path / "layers")
    weighted = layers[layers["weight_l2_norm"].notna()]  # mean-centring has no weight
    assert len(weighted)
    assert weighted["grad_l2_norm"].notna().all()


def test_the_loss_scale_goes_on_where_it_stopped(gpu: str, tiny_data: str, tmp_path: Path) -> None:
    config = RunConfig(data=tiny_data, batch_size=16, epochs=1, every=1, device=gpu, precision="float16")
    run(config, store=tmp_path, name="half")
    saved = torch.load(checkpoint_path(tmp_path, "half"), weights_only=True)
    assert saved["scaler"]["scale"] > 1
    assert len(saved["random"]["cuda"]) == torch.cuda.device_count()
