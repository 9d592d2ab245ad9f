"""The trainings on which the probe's cost is measured: one step each, on fresh random data, one optimizer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dynamics.models import build


@dataclass
class Training:
    """A model, its optimizer and a function that makes one training step."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    step: Callable[[], Tensor]


class Transformer(nn.Module):
    """A small encoder that predicts every token."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(1000, 256)
        layer = nn.TransformerEncoderLayer(256, 4, dim_feedforward=1024, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 4, enable_nested_tensor=False)
        self.head = nn.Linear(256, 1000)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the logits, (batch, class, position)."""
        return self.head(self.encoder(self.embedding(tokens))).transpose(1, 2)


def _images(model: nn.Module, batch: int, channels: int, size: int, classes: int = 10) -> Training:
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    layout = torch.channels_last if _channels_last(model) else torch.contiguous_format
    inputs = [torch.randn(batch, channels, size, size).contiguous(memory_format=layout) for _ in range(4)]
    targets = torch.randint(classes, (batch,))
    return Training(model, optimizer, _step(model, optimizer, inputs, targets))


def _channels_last(model: nn.Module) -> bool:
    weights = [m.weight for m in model.modules() if isinstance(m, nn.Conv2d)]
    return any(w.is_contiguous(memory_format=torch.channels_last) and not w.is_contiguous() for w in weights)


def _step(model: nn.Module, optimizer: torch.optim.Optimizer, inputs: list[Tensor], targets: Tensor) -> Callable:
    taken = 0

    def step() -> Tensor:
        nonlocal taken
        taken += 1
        loss = F.cross_entropy(model(inputs[taken % len(inputs)]), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return step


def _resnet18() -> Training:
    from torchvision.models import resnet18

    return _images(resnet18(), 16, 3, 224, classes=1000)


def _transformer() -> Training:
    model = Transformer()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    inputs = [torch.randint(1000, (16, 128)) for _ in range(4)]
    return Training(model, optimizer, _step(model, optimizer, inputs, torch.randint(1000, (16, 128))))


TRAININGS: dict[str, Callable[[], Training]] = {
    "cnn3": lambda: _images(build("cnn3", "bn"), 64, 1, 28),
    "vgg7": lambda: _images(build("vgg7", "bn", in_channels=3, image_size=32), 64, 3, 32),
    "densenet_bc": lambda: _images(build("densenet_bc", "bn", in_channels=3, image_size=32), 16, 3, 32),
    "resnet18": _resnet18,
    "transformer": _transformer,
}
"""Batch 64 for the first two, 16 for the others; cnn3 at 28 x 28, vgg7 and densenet_bc at 32 x 32, resnet18 at 224 x
224, the transformer on 128 tokens; with batch normalisation where they have one."""
