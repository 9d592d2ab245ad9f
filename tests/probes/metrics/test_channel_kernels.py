"""The kernels for a GPU: the numbers of torch, NaN and infinities among them; by Triton's interpreter without one."""

from __future__ import annotations

import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch

from probes.metrics import channel_sums
from tests.probes.metrics.channel_examples import compare

pytest.importorskip("triton")


def test_the_kernels_give_the_numbers_of_torch():
    root = Path(__file__).parents[3]
    environment = {"TRITON_INTERPRET": "1", "PYTHONPATH": str(root), "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, "-m", "tests.probes.metrics.channel_examples"]
    done = subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True, check=False)
    if "only 0-dimensional arrays can be converted" in done.stderr:
        pytest.skip("the interpreter of this Triton does not know this NumPy")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "all 13\n"


@pytest.mark.parametrize(("number", "capability"), [("fp32", 80), ("bf16", 90)])
def test_the_kernels_compile_for_a_gpu(number, capability, tmp_path, monkeypatch):
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    from triton import compile as compiled
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from probes.metrics import channel_kernels

    for kernel, blocks in (
        (channel_kernels.sum_planes, {"BLOCK": 1024}),
        (channel_kernels.sum_rows, {"ROWS": 16, "CHANNELS": 64}),
    ):
        types = {"x": f"*{number}", "sums": "*fp64", **dict.fromkeys(blocks, "constexpr")}
        signature = {name: types.get(name, "i32") for name in kernel.arg_names}
        source = ASTSource(fn=kernel, signature=signature, constexprs=blocks)
        assert "ptx" in compiled(source, target=GPUTarget("cuda", capability, 32)).asm


@pytest.mark.gpu
def test_on_a_gpu_the_kernels_give_the_numbers_of_the_cpu():
    assert compare(lambda x, dim: channel_sums.channel_sums(x.cuda(), dim)) == 13


def test_where_a_kernel_fails_torch_serves_and_a_warning_says_why(monkeypatch):
    kernels = channel_sums._Kernels()
    assert kernels.usable

    def fails(*_):
        raise RuntimeError("no C compiler\nin PATH")

    monkeypatch.setattr(channel_sums, "launch", fails)
    monkeypatch.setattr(torch.cuda, "device", lambda _: nullcontext())
    with pytest.warns(RuntimeWarning, match=r"could not be launched \(RuntimeError: no C compiler\). The values are"):
        assert kernels.sums(torch.ones(2, 2), 1) is None
    assert not kernels.usable
