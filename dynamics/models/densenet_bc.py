"""The paper's DenseNet-BC for CIFAR-10, of any depth, growth and compression."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dynamics.models.activation import LeakyReLU
from dynamics.models.concatenation import Concatenation
from dynamics.models.scope import check_scope
from dynamics.norms.batch_norm import BATCH_NORM
from dynamics.norms.channel_bias import ChannelBias
from dynamics.norms.norm import Norm

BLOCKS = 3


def _readers(norm: Norm, channels: int) -> nn.Module:
    """Return what stands before an activation that reads channels made elsewhere."""
    make = norm.reader or norm.module
    return nn.Identity() if make is None else make(channels, 2)


def _producers(norm: Norm, channels: int) -> nn.Module:
    """Return what is done once to channels where they are made, for all their readers."""
    return nn.Identity() if norm.producer is None else norm.producer(channels, 2)


class DenseLayer(nn.Module):
    """``growth`` new channels from all channels before: norm, activation, 1x1 conv; norm, activation, 3x3 conv."""

    def __init__(self, norm: Norm, *, channels: int, growth: int) -> None:
        super().__init__()
        middle = 4 * growth
        self.norm1 = _readers(norm, channels)
        self.activation1 = LeakyReLU()
        self.conv1 = norm.weight(nn.Conv2d(channels, middle, 1, bias=False))
        self.norm2 = nn.Identity() if norm.module is None else norm.module(middle, 2)
        self.activation2 = LeakyReLU()
        self.conv2 = norm.weight(nn.Conv2d(middle, growth, 3, padding=1, bias=False))
        self.centring = _producers(norm, growth)

    def forward(self, features: Concatenation) -> Tensor:
        """Return the new channels; ``features`` are those before, which stay as they are."""
        # Adding m makes a copy, any other norm needs one.
        copied = self.norm1(features.value if isinstance(self.norm1, ChannelBias) else features.copy())
        bottleneck = self.conv1(self.activation1(copied))
        return self.centring(self.conv2(self.activation2(self.norm2(bottleneck))))


class DenseBlock(nn.ModuleList):
    """Layers each of which reads what all before it made."""

    def __init__(self, norm: Norm, *, channels: int, growth: int, layers: int) -> None:
        super().__init__(DenseLayer(norm, channels=channels + i * growth, growth=growth) for i in range(layers))
        self.out_channels = channels + layers * growth

    def forward(self, x: Tensor) -> Tensor:
        """Return the input's channels and all new ones."""
        features = Concatenation(x, channels=self.out_channels)
        for layer in self:
            features.append(layer(features))
        return features.copy()


class Transition(nn.Module):
    """Fewer channels and a quarter of the pixels: norm, activation, 1x1 conv, 2x2 average."""

    def __init__(self, norm: Norm, *, channels: int, out_channels: int) -> None:
        super().__init__()
        self.norm = _readers(norm, channels)
        self.activation = LeakyReLU()
        self.conv = norm.weight(nn.Conv2d(channels, out_channels, 1, bias=False))
        self.centring = _producers(norm, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(N, out_channels, h/2, w/2)`` of ``(N, channels, h, w)``, which is overwritten."""
        # Readers see the averaged channels: those are centred, a quarter of the pixels.
        return self.centring(F.avg_pool2d(self.conv(self.activation(self.norm(x))), 2))


class DenseNetBC(nn.Module):
    """DenseNet with bottlenecks and compression (Huang et al. 2017): 1,009,730 parameters with batch norm.

    A 3x3 convolution to ``2 growth`` channels; three blocks of ``(depth - 4) / 6`` dense layers with a transition
    behind the first two; norm, LeakyReLU(0.1), average over the image, linear. Convolutions have no bias. A norm that
    centres (msn, wn_mean) takes a channel's mean once, where the channel is made; each layer that reads it adds its own
    m.

    Args:
        norm: The normalisation.
        in_channels: Channels of the images.
        image_size: Height and width of the images, a multiple of 4.
        num_classes: Outputs.
        depth: Layers, 6n + 4; 100 in the paper.
        growth: Channels that a dense layer adds.
        compression: Share of channels that a transition keeps, 0 to 1; 0.8 in the paper.
        scope: ``full`` normalises every layer, as the paper's text says. ``released`` is what the authors' scripts do:
            dense layers keep batch norm and plain convolutions; only the first convolution, the transitions, the last
            norm and, without centring, the classifier differ.

    Raises:
        ValueError: Depth is not 6n + 4, compression is not above 0 and at most 1, the image size is no multiple of 4,
            or the scope is unknown.
    """

    def __init__(
        self,
        norm: Norm,
        *,
        in_channels: int = 3,
        image_size: int = 32,
        num_classes: int = 10,
        depth: int = 100,
        growth: int = 12,
        compression: float = 0.8,
        scope: str = "full",
    ) -> None:
        super().__init__()
        _check(depth=depth, compression=compression, image_size=image_size)
        check_scope(scope, norm)
        released = scope == "released"
        dense = BATCH_NORM if released else norm
        outer = replace(norm, reader=None, producer=None) if released else norm
        channels = 2 * growth
        stem = norm.weight(nn.Conv2d(in_channels, channels, 3, padding=1, bias=False))
        layers: OrderedDict[str, nn.Module] = OrderedDict(conv=stem, centring=_producers(outer, channels))
        per_block = (depth - 4) // (2 * BLOCKS)
        for number in range(1, BLOCKS + 1):
            layers[f"block{number}"] = DenseBlock(dense, channels=channels, growth=growth, layers=per_block)
            channels += per_block * growth
            if number < BLOCKS:
                kept = int(channels * compression)
                layers[f"transition{number}"] = Transition(outer, channels=channels, out_channels=kept)
                channels = kept
        layers["norm"], layers["activation"] = _readers(outer, channels), LeakyReLU()
        self.features = nn.Sequential(layers)
        classifier = nn.Linear(channels, num_classes)
        self.classifier = classifier if released and norm.module is not None else norm.weight(classifier)
        self._image = (in_channels, image_size, image_size)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits, ``(N, num_classes)``, of images ``(N, in_channels, image_size, image_size)``."""
        return self.classifier(self.features(images).mean((2, 3)))

    def example_input(self) -> Tensor:
        """Return one blank image."""
        return torch.zeros(1, *self._image)


def _check(*, depth: int, compression: float, image_size: int) -> None:
    if depth < 10 or (depth - 4) % (2 * BLOCKS):
        raise ValueError(f"densenet_bc: depth must be 6n + 4, such as 40 or 100, got {depth}")
    if not 0 < compression <= 1:
        raise ValueError(f"densenet_bc: compression must be above 0 and at most 1, got {compression}")
    if image_size < 4 or image_size % 4:
        raise ValueError(f"densenet_bc halves images twice: expected a multiple of 4, got {image_size}")
