"""The distributed training of each framework, on two gloo ranks: silent, one run, the gradients that are used."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

pytestmark = [pytest.mark.frameworks, pytest.mark.slow]
TORCHRUN = ["torch.distributed.run", "--nproc-per-node", "2", "--standalone", "-m"]
NEEDS = {"trainer": "transformers", "accelerate": "accelerate", "lightning": "lightning"}


@pytest.mark.timeout(600)  # the second rank of Lightning begins when the first has imported everything
@pytest.mark.parametrize("framework", NEEDS)
def test_two_ranks_of_a_framework_record_one_run_and_train_as_without(framework, tmp_path):
    for package in ("transformers", NEEDS[framework]):
        pytest.importorskip(package)
    launcher = [] if framework == "lightning" else TORCHRUN
    command = [sys.executable, "-m", *launcher, "tests.probes.integrations.rank_trainers", framework, tmp_path, "gpt2"]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[3], timeout=580
    )
    assert done.returncode == 0, done.stderr
    seen, other = (json.loads((tmp_path / f"{framework}-{rank}.json").read_text()) for rank in range(2))
    assert seen["silent"]
    assert other["silent"]
    assert seen["gradients"] == other["gradients"]
    steps, store = len(seen["gradients"]), tmp_path / "runs"
    assert steps > 1
    assert pd.read_parquet(store / "runs")[["run", "status"]].to_numpy().tolist() == [["a", "finished"]]
    layers, parameters = pd.read_parquet(store / "layers"), pd.read_parquet(store / "parameters")
    for table, name in ((layers, "layer"), (parameters, "parameter")):
        assert not table.duplicated(["step", name]).any()
        assert set(table["step"]) == set(range(steps))
    row_of = parameters.set_index(["step", "parameter"])
    for step in range(steps):
        for parameter, gradient in seen["gradients"][step].items():
            assert row_of.loc[(step, parameter), "grad_l2_norm"] == pytest.approx(gradient, rel=1e-5), parameter
    assert layers["epoch"].notna().all()
    assert (layers.groupby("step")["activation_mean"].count() > 0).all()
    train = pd.read_parquet(store / "steps").query("split == 'train'").sort_values("step")
    train = train[train["step"] < steps]
    # The Trainer logs its loss, the mean over the ranks, in four digits.
    assert train["loss"].tolist() == pytest.approx(seen["losses"], rel=1e-3 if framework == "trainer" else 1e-5)
