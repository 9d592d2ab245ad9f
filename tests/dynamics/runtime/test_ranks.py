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

ROOT = Path(__file__).parents[2]


# In float64. In float32 the order of sums alone makes the last digits, and Adam makes them into whole steps wherever a
# gradient is no larger than its rounding, as that of a bias in front of a centring always is. In float64 that rounding
# lies so far below Adam's epsilon, 1e-8, that no step follows it.
PROGRAM = """
import sys
import torch
from dynamics import cli

torch.set_default_dtype(torch.float64)
sys.exit(cli.run(sys.argv[1:]))
"""


def torchrun(program: Path, arguments: list[str], *, processes: int = 2) -> subprocess.CompletedProcess[str]:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    return subprocess.run(
        [*launcher, str(program), *arguments], capture_output=True, text=True, timeout=240, check=False, cwd=ROOT
    )


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("norm", ["msn", *(pytest.param(norm, marks=pytest.mark.slow) for norm in ("sn", "none"))])
def test_two_processes_train_what_one_trains(norm: str, tiny_data: str, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    settings = ["--norm", norm, "--data", tiny_data, "--batch-size", "16", "--epochs", "2", "--every", "1"]
    assert cli.run(["train", *settings, "--store", str(tmp_path), "--run", "one"]) == 0
    result = torchrun(program, ["train", *settings, "--store", str(tmp_path), "--run-id", "two"])
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("two begins: 2 epochs, 8 steps") == 1

    one, two = (torch.load(checkpoint_path(tmp_path, run), weights_only=True)["model"] for run in ("one", "two"))
    assert {tensor.dtype for tensor in one.values()} == {torch.float64}
    torch.testing.assert_close(two, one, rtol=1e-9, atol=1e-10)
    for table, columns in (("steps", ["loss", "accuracy"]), ("layers", ["weight_mean", "weight_var", "grad_l2_norm"])):
        rows = pd.read_parquet(tmp_path / table)
        order = [key for key in ("step", "split", "layer_index") if key in rows]
        one, two = (
            rows[rows["run"] == run].sort_values(order)[[*order, *columns]].reset_index(drop=True)
            for run in ("one", "two")
        )
        pd.testing.assert_frame_equal(one, two, check_exact=False, rtol=1e-6, atol=1e-9)  # the store's float32


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
