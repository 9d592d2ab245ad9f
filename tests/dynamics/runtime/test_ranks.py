"""Two processes over Gloo that train one run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch

from dynamics import cli
from dynamics.classifier.config import RunConfig
from dynamics.classifier.run import check_shares
from dynamics.runtime.checkpoint import checkpoint_path
from dynamics.runtime.ranks import ALONE, Ranks, environment


def torchrun(arguments: list[str], *, processes: int = 2) -> subprocess.CompletedProcess[str]:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    return subprocess.run(
        [*launcher, "-m", "dynamics", *arguments], capture_output=True, text=True, timeout=240, check=False
    )


def without_noise(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the state but for biases in front of a centring, and the running means that follow them.

    Such a bias has no gradient but rounding, which Adam makes into whole steps; no training output depends on it.
    """
    centred = [name.removesuffix("norm.running_mean") for name in state if name.endswith("norm.running_mean")]
    noisy = {f"{block}{name}" for block in centred for name in ("conv.bias", "norm.running_mean")}
    return {name: tensor for name, tensor in state.items() if name not in noisy}


@pytest.mark.parametrize("norm", ["msn", *(pytest.param(norm, marks=pytest.mark.slow) for norm in ("sn", "none"))])
def test_two_processes_train_what_one_trains(norm: str, tiny_data: str, tmp_path: Path) -> None:
    settings = ["--norm", norm, "--data", tiny_data, "--batch-size", "16", "--epochs", "2", "--every", "1"]
    assert cli.run(["train", *settings, "--store", str(tmp_path), "--run", "one"]) == 0
    result = torchrun(["train", *settings, "--store", str(tmp_path), "--run-id", "two"])
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("two begins: 2 epochs, 8 steps") == 1

    states = [torch.load(checkpoint_path(tmp_path, run), weights_only=True)["model"] for run in ("one", "two")]
    one, two = (without_noise(state) for state in states) if norm == "msn" else states
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, rtol=1e-3, atol=1e-4)
    for table, columns in (("steps", ["loss", "accuracy"]), ("layers", ["weight_mean", "weight_var", "grad_l2_norm"])):
        rows = pd.read_parquet(tmp_path / table)
        order = [key for key in ("step", "split", "layer_index") if key in rows]
        one, two = (
            rows[rows["run"] == run].sort_values(order)[[*order, *columns]].reset_index(drop=True)
            for run in ("one", "two")
        )
        pd.testing.assert_frame_equal(one, two, check_exact=False, rtol=2e-3, atol=1e-5)


def test_a_batch_that_cannot_be_shared_evenly_is_refused() -> None:
    with pytest.raises(ValueError, match="batch_size 15: expected a multiple of 2 processes times 5 micro-batches"):
        check_shares(RunConfig(batch_size=15, accumulate=5), Ranks(count=2))
    check_shares(RunConfig(batch_size=20, accumulate=5), Ranks(count=2))


def test_torchrun_tells_each_process_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    assert environment() == ALONE
    for name, value in {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    assert environment() == Ranks(rank=5, count=8, local=1)
    assert not environment().first


def test_alone_nothing_is_wrapped_averaged_or_asked() -> None:
    model, loss = torch.nn.Linear(1, 1), torch.tensor(2.0)
    assert ALONE.wrap(model) is model
    assert ALONE.mean(loss)[0] is loss
    assert ALONE.any(True, device=torch.device("cpu"))
    assert not ALONE.any(False, device=torch.device("cpu"))
