"""ResNet-20 for CIFAR-10 as an extractor: a classifier small enough to score thousands of images on two cores."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional as F

from dynamics.gan.scoring.extractors.extractor import Extractor, Features, load_weights, read_weights

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class ResNet20(Extractor):
    """Three stages of three residual blocks with 16, 32 and 64 channels and parameter-free shortcuts; 64 features.

    Reference: He et al. (2016), section 4.2, shortcut option A.
    """

    name = "resnet20"
    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = _conv3x3(3, 16)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = nn.Sequential(*(_Block(16, 16) for _ in range(3)))
        self.layer2 = nn.Sequential(_Block(16, 32), _Block(32, 32), _Block(32, 32))
        self.layer3 = nn.Sequential(_Block(32, 64), _Block(64, 64), _Block(64, 64))
        self.linear = nn.Linear(64, 10)
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Features:
        """Return features ``(n, 64)`` and logits ``(n, 10)``; grey images are repeated to RGB."""
        x = (images.expand(-1, 3, -1, -1) - self.mean) / self.std
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        vectors = x.mean(dim=(2, 3))
        return Features(vectors, self.linear(vectors))


class _Block(nn.Module):
    """Two 3x3 convolutions and a shortcut that subsamples by the stride and adds zero channels."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.stride = out_channels // in_channels
        self.added_channels = out_channels - in_channels
        self.conv1 = _conv3x3(in_channels, out_channels, stride=self.stride)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = _conv3x3(out_channels, out_channels)
        self.bn2 = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        half = self.added_channels // 2
        shortcut = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, half, half))
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + shortcut)


def _conv3x3(in_channels: int, out_channels: int, *, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False)


def load_resnet20(path: Path) -> ResNet20:
    """Return ResNet-20 with the weights of a file: a state dict, or a dictionary with it under ``state_dict``.

    Args:
        path: File of ``torch.save``; names may carry the prefix ``module.`` of a DataParallel model.

    Raises:
        ValueError: The file cannot be read or does not hold a ResNet-20 of this layout.
    """
    model = ResNet20()
    load_weights(model, {key.removeprefix("module."): value for key, value in read_weights(path).items()}, path)
    return model.eval()
