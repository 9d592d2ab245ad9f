"""ONNX files of folded networks."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from dynamics.deploy.folding import fold_network
from dynamics.deploy.onnx_export import NoOnnxError, export_onnx, onnx_network
from dynamics.models import build

SMALL: dict[str, tuple[dict[str, Any], tuple[int, ...]]] = {
    "cnn3": ({"in_channels": 1, "image_size": 12}, (1, 1, 12, 12)),
    "densenet_bc": ({"in_channels": 3, "image_size": 8, "depth": 10, "growth": 4}, (1, 3, 8, 8)),
}


@pytest.mark.frameworks
@pytest.mark.parametrize(("model", "norm"), [("cnn3", "msn"), ("densenet_bc", "bn")])
def test_onnxruntime_computes_the_folded_network_at_any_batch_size(
    model: str, norm: str, tmp_path: Path, seed: int
) -> None:
    pytest.importorskip("onnxruntime")
    torch.manual_seed(seed)
    options, shape = SMALL[model]
    network = fold_network(build(model, norm, **options).eval()).network
    file = export_onnx(network, torch.randn(shape), tmp_path / "made" / "net.onnx")
    assert [path.name for path in file.parent.iterdir()] == ["net.onnx"]
    for count in (1, 2, 7):
        images = torch.randn(count, *shape[1:])
        torch.testing.assert_close(onnx_network(file)(images), network(images), rtol=1e-4, atol=1e-5)


@pytest.mark.frameworks
def test_a_network_that_torch_cannot_export_is_told_and_leaves_no_file(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")

    class Branching(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x if x.sum() > 0 else -x

    with pytest.raises(NoOnnxError, match="no ONNX file: torch cannot export Branching"):
        export_onnx(Branching(), torch.zeros(1, 3), tmp_path / "net.onnx")
    assert list(tmp_path.iterdir()) == []


def test_without_onnxruntime_one_line_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(NoOnnxError, match=r"onnxruntime.* not installed \(pip install 'meandrift\[deploy\]'\)"):
        export_onnx(nn.Identity(), torch.zeros(1), tmp_path / "net.onnx")
