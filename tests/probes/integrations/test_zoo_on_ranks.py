"""Networks of the zoo on two gloo ranks, under DDP and FSDP2."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from tests.probes.integrations.zoo import ZOO

pytestmark = [pytest.mark.frameworks, pytest.mark.slow, pytest.mark.timeout(1200)]
WAYS = ("ddp", "fsdp2")
ROWS = [(way, name) for way in WAYS for name in ZOO]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Train all of them, way by way."""
    for package in ("transformers", "peft", "timm"):
        pytest.importorskip(package)
    folder = tmp_path_factory.mktemp("ranks")
    for port, way in enumerate(WAYS, start=29611 + os.getpid() % 1000):
        setting = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
        command = [sys.executable, "-m", "tests.probes.integrations.rank_zoo", str(folder), way, *ZOO]
        ranks = [
            subprocess.Popen(
                command,
                env={**setting, "RANK": str(rank)},
                cwd=Path(__file__).parents[3],
                stderr=subprocess.PIPE,
                text=True,
            )
            for rank in range(2)
        ]
        errors = [rank.communicate(timeout=580)[1] for rank in ranks]
        assert [rank.returncode for rank in ranks] == [0, 0], errors
    return folder


@pytest.mark.parametrize(("way", "name"), ROWS)
def test_ranks_train_alike_and_record_the_gradients_that_are_used(way, name, folder):
    seen = json.loads((folder / f"{way}-{name}.json").read_text())
    assert seen["silent"], seen.get("error")
    run = [("run", "==", f"{way}-{name}")]
    rows = pd.read_parquet(folder / "runs" / "parameters", filters=run).set_index(["step", "parameter"])
    for step, gradients in enumerate(seen["gradients"]):
        for parameter, gradient in gradients.items():
            assert rows.loc[(step, parameter), "grad_l2_norm"] == pytest.approx(gradient, rel=1e-5), parameter
    steps = pd.read_parquet(folder / "runs" / "steps", filters=run).sort_values("step")
    assert steps["loss"].tolist() == pytest.approx(seen["losses"])
    layers = pd.read_parquet(folder / "runs" / "layers", filters=run)
    assert layers["epoch"].tolist() == layers["step"].tolist()
    assert (layers.groupby("step")["activation_mean"].count() > 0).all()
