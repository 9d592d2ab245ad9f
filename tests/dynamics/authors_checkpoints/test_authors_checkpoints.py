"""The authors' checkpoints: files of their layout are read, and judged by the accuracy that they store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dynamics import cli
from dynamics.authors_checkpoints.accuracy import verdicts
from dynamics.authors_checkpoints.checkpoint import load_checkpoint
from dynamics.data.images import DataSet, Images

NORMS = {"BNconv": "bn", "MSNconv": "msn", "SNconv": "sn", "Conv": "none"}
SHAPES = ((16, 1, 5, 5), (32, 16, 3, 3), (32, 32, 4, 4))
STRIDES = (1, 1, 2)


def authors_state(norm: str, seed: int) -> dict[str, Tensor]:
    """Return a state dict in the authors' layout: convolution, norm, activation at main.0, 1, 2 and so on."""
    draw = torch.Generator().manual_seed(seed)

    def random(*shape: int, scale: float = 0.1) -> Tensor:
        return scale * torch.randn(shape, generator=draw)

    def layer(*shape: int) -> Tensor:
        """Return a weight with one singular value well above the others: power iteration then needs few steps."""
        U, S, V = torch.linalg.svd(random(*shape).flatten(1), full_matrices=False)
        return (U * torch.cat([2 * S[:1], S[1:]]) @ V).view(shape)

    state: dict[str, Tensor] = {}
    step = 3 if norm in {"bn", "msn"} else 2
    for number, shape in enumerate(SHAPES):
        conv, after = f"main.{step * number}", f"main.{step * number + 1}"
        state |= {f"{conv}.weight": layer(*shape), f"{conv}.bias": random(shape[0])}
        if norm in {"sn", "msn"}:
            state[f"{conv}.renorm"] = torch.ones(1, 1)
        if norm in {"bn", "msn"}:
            state |= {f"{after}.weight": 1 + random(shape[0]), f"{after}.bias": random(shape[0])}
            state |= {f"{after}.running_mean": random(shape[0]), f"{after}.running_var": 1 + random(shape[0]).abs()}
            state[f"{after}.num_batches_tracked"] = torch.tensor(7)
    state |= {"fc.weight": layer(10, 8192), "fc.bias": random(10)}
    if norm in {"sn", "msn"}:
        state["fc.renorm"] = torch.ones(1, 1)
    return state


def logits(state: dict[str, Tensor], norm: str, x: Tensor, *, slope: float) -> Tensor:
    """Return the outputs of the authors' network, written out."""

    def used(weight: Tensor) -> Tensor:
        return weight / torch.linalg.matrix_norm(weight.flatten(1), 2) if norm in {"sn", "msn"} else weight

    step = 3 if norm in {"bn", "msn"} else 2
    for number, stride in enumerate(STRIDES):
        conv, after = f"main.{step * number}", f"main.{step * number + 1}"
        x = F.conv2d(x, used(state[f"{conv}.weight"]), state[f"{conv}.bias"], stride, padding=2)
        if norm in {"bn", "msn"}:
            mean, variance, scale, shift = (
                state[f"{after}.{name}"][:, None, None] for name in ("running_mean", "running_var", "weight", "bias")
            )
            x = (x - mean) / (variance + 1e-5).sqrt() * scale + shift if norm == "bn" else (x - mean) * scale + shift
        x = torch.where(x > 0, x, slope * x)
    return x.flatten(1) @ used(state["fc.weight"]).T + state["fc.bias"]


def write(path: Path, state: dict[str, Tensor], *, accuracy: float = 50.0, epoch: int = 3) -> Path:
    torch.save({"net": state, "acc": accuracy, "epoch": epoch}, path)
    return path


@pytest.mark.parametrize("kind", NORMS)
def test_a_file_gives_the_network_that_it_was_stored_from(kind: str, tmp_path: Path, seed: int) -> None:
    norm, slope = NORMS[kind], 0.0 if kind == "Conv" else 0.1
    state = authors_state(norm, seed)
    saved = load_checkpoint(write(tmp_path / f"{kind}_0.001_MNIST.t7", state))
    assert (saved.norm, saved.accuracy, saved.epoch) == (norm, 0.5, 3)
    assert saved.activation == ("relu" if kind == "Conv" else "leaky_relu")
    x = torch.randn(3, 1, 28, 28, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        torch.testing.assert_close(saved.model(x), logits(state, norm, x, slope=slope), rtol=1e-4, atol=1e-4)


def test_batch_norm_in_a_plain_script_has_relu(tmp_path: Path) -> None:
    saved = load_checkpoint(write(tmp_path / "Conv_MNIST.t7", authors_state("bn", 0)))
    assert (saved.norm, saved.activation) == ("bn", "relu")
    assert isinstance(saved.model.features.block1.activation, nn.ReLU)


def test_reading_moves_no_random_stream(tmp_path: Path) -> None:
    path = write(tmp_path / "SNconv_MNIST.t7", authors_state("sn", 0))
    before = torch.get_rng_state()
    load_checkpoint(path)
    assert torch.equal(torch.get_rng_state(), before)


def without(state: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    return {key: tensor for key, tensor in state.items() if key != name}


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        ({"net": {}}, r"expected a dictionary of net, acc and epoch, got \['net'\]"),
        ([1, 2], r"expected a dictionary of net, acc and epoch, got list"),
        (without(authors_state("sn", 0), "main.2.weight"), r"expected the authors' MNIST network, convolutions"),
        (
            without(authors_state("bn", 0), "main.1.running_var"),
            r"BatchNorm2d needs a running_var of \(16,\), got none",
        ),
        (authors_state("sn", 0) | {"fc.weight": torch.ones(10, 256)}, r"fc: Linear needs a weight of \(10, 8192\)"),
    ],
)
def test_another_layout_is_told(stored: Any, message: str, tmp_path: Path) -> None:
    whole = isinstance(stored, list) or "net" in stored
    torch.save(stored if whole else {"net": stored, "acc": 1.0, "epoch": 0}, tmp_path / "file.t7")
    with pytest.raises(ValueError, match=message):
        load_checkpoint(tmp_path / "file.t7")


def test_a_file_that_is_no_checkpoint_is_told(tmp_path: Path) -> None:
    (tmp_path / "file.t7").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"cannot be read: expected a file of torch\.save"):
        load_checkpoint(tmp_path / "file.t7")
    with pytest.raises(FileNotFoundError):
        load_checkpoint(tmp_path / "none.t7")


@pytest.fixture
def digits() -> Images:
    draw = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (50, 1, 28, 28), dtype=torch.uint8, generator=draw)
    return Images(pixels, torch.arange(50) % 10)


def right(state: dict[str, Tensor], norm: str, digits: Images) -> int:
    x = (digits.pixels / 255 - 0.4914) / 0.2023
    return int((logits(state, norm, x, slope=0.1).argmax(1) == digits.labels).sum())


def test_accuracy_is_that_of_the_scripts_preprocessing(tmp_path: Path, digits: Images) -> None:
    state = authors_state("bn", 5)
    correct = right(state, "bn", digits)
    path = write(tmp_path / "BNconv_MNIST.t7", state, accuracy=100 * (correct - 2) / 50)
    (verdict,) = verdicts([path], digits)
    assert verdict.found == pytest.approx(correct / 50)
    assert verdict.difference == 2


def test_the_command_says_what_differs_and_fails_if_something_does(
    tmp_path: Path, digits: Images, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = DataSet("mnist", digits, digits, num_classes=10, mean=(0.1,), std=(0.3,))
    monkeypatch.setattr("dynamics.data.sources.load_data", lambda *_, **__: data)
    state = authors_state("msn", 1)
    correct = right(state, "msn", digits)
    good = write(tmp_path / "MSNconv_0.1_MNIST.t7", state, accuracy=100 * correct / 50)
    bad = write(tmp_path / "MSNconv_0.2_MNIST.t7", state, accuracy=100 * (correct + 1) / 50)
    assert cli.run(["authors-checkpoints", str(good)]) == 0
    assert "msn" in capsys.readouterr().out
    assert cli.run(["authors-checkpoints", str(good), str(bad)]) == 1
    assert "-1" in capsys.readouterr().out
    assert cli.run(["authors-checkpoints", str(tmp_path / "none.t7")]) == 2
