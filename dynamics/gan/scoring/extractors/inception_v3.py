"""The Inception-v3 of FID's definition, read from a local copy of pytorch-fid's weight file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional as F

from dynamics.gan.scoring.extractors.extractor import Extractor, Features, load_weights, read_weights

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

_Pair = int | tuple[int, int]

CLASSES = 1008  # outputs of the 2015 network: 1,000 classes and 8 that were never trained
SIZE = 299


class InceptionV3(Extractor):
    """The 2015 Inception-v3: 299x299 images in -1..1, 2048 features, 1008 logits.

    It differs from torchvision's Inception-v3 in three points, which the weights need: average pooling counts no
    padding, the last block has max pooling, and the logits have no bias in the inception score.

    References: Szegedy et al. (2016); Salimans et al. (2016) for the logits; Heusel et al. (2017) for the features.
    """

    name = "inception"

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = Convolution(3, 32, 3, stride=2)
        self.Conv2d_2a_3x3 = Convolution(32, 32, 3)
        self.Conv2d_2b_3x3 = Convolution(32, 64, 3, padding=1)
        self.Conv2d_3b_1x1 = Convolution(64, 80, 1)
        self.Conv2d_4a_3x3 = Convolution(80, 192, 3)
        self.Mixed_5b = _inception_a(192, pooled=32)
        self.Mixed_5c = _inception_a(256, pooled=64)
        self.Mixed_5d = _inception_a(288, pooled=64)
        self.Mixed_6a = _inception_b(288)
        self.Mixed_6b = _inception_c(768, inner=128)
        self.Mixed_6c = _inception_c(768, inner=160)
        self.Mixed_6d = _inception_c(768, inner=160)
        self.Mixed_6e = _inception_c(768, inner=192)
        self.Mixed_7a = _inception_d(768)
        self.Mixed_7b = _inception_e(1280, pool=_average_pool())
        self.Mixed_7c = _inception_e(2048, pool=nn.MaxPool2d(3, stride=1, padding=1))
        self.fc = nn.Linear(2048, CLASSES)

    def forward(self, images: Tensor) -> Features:
        """Return features ``(n, 2048)`` and bias-free logits ``(n, 1008)``; grey images are repeated to RGB."""
        x = F.interpolate(images.expand(-1, 3, -1, -1), size=(SIZE, SIZE), mode="bilinear", align_corners=False)
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(2 * x - 1)))
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(F.max_pool2d(x, 3, stride=2)))
        x = F.max_pool2d(x, 3, stride=2)
        x = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(x)))
        x = self.Mixed_6e(self.Mixed_6d(self.Mixed_6c(self.Mixed_6b(self.Mixed_6a(x)))))
        x = self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(x)))
        vectors = x.mean(dim=(2, 3))
        return Features(vectors, vectors @ self.fc.weight.mT)


class Convolution(nn.Module):
    """Convolution without bias, batch norm, ReLU."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel: _Pair, *, stride: int = 1, padding: _Pair = 0
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel, stride=stride, padding=padding, bias=False)
        self.bn = nn.BatchNorm2d(out_channels, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        """Return the activated output."""
        return F.relu(self.bn(self.conv(x)))


def _row(in_channels: int, out_channels: int, length: int) -> Convolution:
    return Convolution(in_channels, out_channels, (1, length), padding=(0, length // 2))


def _column(in_channels: int, out_channels: int, length: int) -> Convolution:
    return Convolution(in_channels, out_channels, (length, 1), padding=(length // 2, 0))


class Mixed(nn.Module):
    """Parallel paths over one input, whose outputs are concatenated in the channels.

    Args:
        paths: For each path a tuple of stages, applied in turn. A stage is the name of a layer, ``"pool"``, or a tuple
            of names whose outputs are concatenated.
        pool: The pooling that ``"pool"`` in a path names.
        layers: The layers by name. They become attributes with the names of the weight file.
    """

    def __init__(self, paths: tuple[tuple[str | tuple[str, ...], ...], ...], *, pool: nn.Module, **layers: nn.Module):
        super().__init__()
        self.paths = paths
        self.pool = pool
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x: Tensor) -> Tensor:
        """Return the paths' outputs, concatenated in the channels."""
        return torch.cat([self._follow(path, x) for path in self.paths], dim=1)

    def _follow(self, path: tuple[str | tuple[str, ...], ...], x: Tensor) -> Tensor:
        for stage in path:
            names = (stage,) if isinstance(stage, str) else stage
            x = torch.cat([self.get_submodule(name)(x) for name in names], dim=1)
        return x


def _average_pool() -> nn.Module:
    return nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False)


def _halving_pool() -> nn.Module:
    return nn.MaxPool2d(3, stride=2)


def _inception_a(channels: int, *, pooled: int) -> Mixed:
    """35x35: 1x1, 5x5, two 3x3, and pooling."""
    return Mixed(
        (
            ("branch1x1",),
            ("branch5x5_1", "branch5x5_2"),
            ("branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3"),
            ("pool", "branch_pool"),
        ),
        pool=_average_pool(),
        branch1x1=Convolution(channels, 64, 1),
        branch5x5_1=Convolution(channels, 48, 1),
        branch5x5_2=Convolution(48, 64, 5, padding=2),
        branch3x3dbl_1=Convolution(channels, 64, 1),
        branch3x3dbl_2=Convolution(64, 96, 3, padding=1),
        branch3x3dbl_3=Convolution(96, 96, 3, padding=1),
        branch_pool=Convolution(channels, pooled, 1),
    )


def _inception_b(channels: int) -> Mixed:
    """35x35 to 17x17."""
    return Mixed(
        (("branch3x3",), ("branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3"), ("pool",)),
        pool=_halving_pool(),
        branch3x3=Convolution(channels, 384, 3, stride=2),
        branch3x3dbl_1=Convolution(channels, 64, 1),
        branch3x3dbl_2=Convolution(64, 96, 3, padding=1),
        branch3x3dbl_3=Convolution(96, 96, 3, stride=2),
    )


def _inception_c(channels: int, *, inner: int) -> Mixed:
    """17x17: 1x1, a 7x7 split in a row and a column, two such 7x7, and pooling."""
    return Mixed(
        (
            ("branch1x1",),
            ("branch7x7_1", "branch7x7_2", "branch7x7_3"),
            ("branch7x7dbl_1", "branch7x7dbl_2", "branch7x7dbl_3", "branch7x7dbl_4", "branch7x7dbl_5"),
            ("pool", "branch_pool"),
        ),
        pool=_average_pool(),
        branch1x1=Convolution(channels, 192, 1),
        branch7x7_1=Convolution(channels, inner, 1),
        branch7x7_2=_row(inner, inner, 7),
        branch7x7_3=_column(inner, 192, 7),
        branch7x7dbl_1=Convolution(channels, inner, 1),
        branch7x7dbl_2=_column(inner, inner, 7),
        branch7x7dbl_3=_row(inner, inner, 7),
        branch7x7dbl_4=_column(inner, inner, 7),
        branch7x7dbl_5=_row(inner, 192, 7),
        branch_pool=Convolution(channels, 192, 1),
    )


def _inception_d(channels: int) -> Mixed:
    """17x17 to 8x8."""
    return Mixed(
        (
            ("branch3x3_1", "branch3x3_2"),
            ("branch7x7x3_1", "branch7x7x3_2", "branch7x7x3_3", "branch7x7x3_4"),
            ("pool",),
        ),
        pool=_halving_pool(),
        branch3x3_1=Convolution(channels, 192, 1),
        branch3x3_2=Convolution(192, 320, 3, stride=2),
        branch7x7x3_1=Convolution(channels, 192, 1),
        branch7x7x3_2=_row(192, 192, 7),
        branch7x7x3_3=_column(192, 192, 7),
        branch7x7x3_4=Convolution(192, 192, 3, stride=2),
    )


def _inception_e(channels: int, *, pool: nn.Module) -> Mixed:
    """8x8: 1x1, a row and a column of 3 in parallel, the same after a 3x3, and pooling."""
    return Mixed(
        (
            ("branch1x1",),
            ("branch3x3_1", ("branch3x3_2a", "branch3x3_2b")),
            ("branch3x3dbl_1", "branch3x3dbl_2", ("branch3x3dbl_3a", "branch3x3dbl_3b")),
            ("pool", "branch_pool"),
        ),
        pool=pool,
        branch1x1=Convolution(channels, 320, 1),
        branch3x3_1=Convolution(channels, 384, 1),
        branch3x3_2a=_row(384, 384, 3),
        branch3x3_2b=_column(384, 384, 3),
        branch3x3dbl_1=Convolution(channels, 448, 1),
        branch3x3dbl_2=Convolution(448, 384, 3, padding=1),
        branch3x3dbl_3a=_row(384, 384, 3),
        branch3x3dbl_3b=_column(384, 384, 3),
        branch_pool=Convolution(channels, 192, 1),
    )


def load_inception(path: Path) -> InceptionV3:
    """Return Inception-v3 with the weights of a local file in pytorch-fid's layout.

    Raises:
        ValueError: The file cannot be read or does not hold this network.
    """
    model = InceptionV3()
    load_weights(model, read_weights(path), path)
    return model.eval()
