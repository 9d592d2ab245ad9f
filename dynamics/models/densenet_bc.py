"""The paper's DenseNet-BC for CIFAR-10, of any depth, growth and compression."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from dynamics.models.parts.channel_buffer import ChannelBuffer
from dynamics.models.parts.leaky_relu import LeakyReLU
from dynamics.models.parts.scope import check_scope
from dynamics.norms.batch_norm import BATCH_NORM
from dynamics.norms.norm import Norm

BLOCKS = 3

Order = Callable[..., "OrderedDict[str, nn.Module]"]
Activation = Callable[[], nn.Module]


def _activated(norm: Norm, activation: Activation, channels: int, number: str = "") -> OrderedDict[str, nn.Module]:
    """Return the norm of ``channels`` channels, if the norm has a module, and the activation."""
    made: OrderedDict[str, nn.Module] = OrderedDict()
    if norm.module is not None:
        made[f"norm{number}"] = norm.module(channels, 2)
    made[f"activation{number}"] = activation()
    return made


def _where_made(
    activation: Activation, norm: Norm, conv: nn.Conv2d, number: str = "", **behind: nn.Module
) -> OrderedDict[str, nn.Module]:
    """Return conv, norm, activation: all layers that read the new channels share their norm and activation (Eq. 7)."""
    made = OrderedDict({f"conv{number}": norm.weight(conv)}, **behind)
    return made | _activated(norm, activation, conv.out_channels, number)


def _where_read(
    activation: Activation, norm: Norm, conv: nn.Conv2d, number: str = "", **behind: nn.Module
) -> OrderedDict[str, nn.Module]:
    """Return norm, activation, conv: each layer has its own norm for the channels that it reads (pre-activation)."""
    read = _activated(norm, activation, conv.in_channels, number)
    return read | OrderedDict({f"conv{number}": norm.weight(conv)}, **behind)


class DenseLayer(nn.Sequential):
    """``growth`` new channels from all channels before, by a 1x1 and a 3x3 convolution."""

    def __init__(self, norm: Norm, order: Order, *, channels: int, growth: int) -> None:
        middle = 4 * growth
        bottleneck = order(norm, nn.Conv2d(channels, middle, 1, bias=False), "1")
        super().__init__(bottleneck | order(norm, nn.Conv2d(middle, growth, 3, padding=1, bias=False), "2"))

    def forward(self, features: ChannelBuffer) -> Tensor:
        """Return the new channels. ``features`` holds the earlier channels and is not changed."""
        return super().forward(features.copy())


class DenseBlock(nn.ModuleList):
    """Dense layers; each reads the channels of all layers before it."""

    def __init__(self, norm: Norm, order: Order, *, channels: int, growth: int, layers: int) -> None:
        widths = [channels + i * growth for i in range(layers)]
        super().__init__(DenseLayer(norm, order, channels=width, growth=growth) for width in widths)
        self.out_channels = channels + layers * growth

    def forward(self, x: Tensor) -> Tensor:
        """Return the input's channels and all new channels."""
        features = ChannelBuffer(x, channels=self.out_channels)
        for layer in self:
            features.append(layer(features))
        return features.copy()


class DenseNetBC(nn.Module):
    """DenseNet with bottlenecks and compression (Huang et al. 2017): 1,009,730 parameters with batch norm.

    The network starts with a 3x3 convolution to ``2 growth`` channels. Three blocks of ``(depth - 4) / 6`` dense layers
    follow; a dense layer is a 1x1 and a 3x3 convolution. A transition follows each of the first two blocks: a 1x1
    convolution and a 2x2 average. The last modules are the average over the image and a linear layer. Convolutions have
    no bias.

    The place of norm and activation depends on the norm. Batch norm and its activation stand before each convolution
    except the first, and before the last average: each layer normalises its own input. In Eq. 7 mean, m and activation
    belong to the layer that makes a channel. A norm that acts ``once``, or has no module, therefore stands behind each
    convolution (in a transition behind its average), and all layers read the same activations. For a norm without a
    module both orders are the same function, and the second computes each activation only once.

    Args:
        norm: The normalisation.
        in_channels: Channels of the images.
        image_size: Height and width of the images, a multiple of 4.
        num_classes: Outputs.
        depth: Layers, 6n + 4; 100 in the paper.
        growth: Channels that a dense layer adds.
        compression: Share of channels that a transition keeps, 0 to 1; 0.8 in the paper.
        activation: Makes the nonlinearity, by default LeakyReLU(0.1); the authors' scripts have ReLU.
        scope: ``full`` normalises every layer, as the paper's text says. ``released`` follows the authors' scripts:
            dense layers keep batch norm and plain convolutions, and every norm stands before the convolution. The norm
            changes only the first convolution, the transitions, the last norm and, without centring, the classifier.

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
        activation: Activation = LeakyReLU,
    ) -> None:
        super().__init__()
        _check(depth=depth, compression=compression, image_size=image_size)
        check_scope(scope, norm)
        released = scope == "released"
        dense = BATCH_NORM if released else norm
        once = not released and (norm.once or norm.module is None)
        order = partial(_where_made if once else _where_read, activation)
        channels = 2 * growth
        stem = nn.Conv2d(in_channels, channels, 3, padding=1, bias=False)
        layers: OrderedDict[str, nn.Module] = OrderedDict(conv=norm.weight(stem))
        if once:
            layers |= _activated(norm, activation, channels, "0")
        per_block = (depth - 4) // (2 * BLOCKS)
        for number in range(1, BLOCKS + 1):
            layers[f"block{number}"] = DenseBlock(dense, order, channels=channels, growth=growth, layers=per_block)
            channels += per_block * growth
            if number < BLOCKS:
                kept = int(channels * compression)
                conv = nn.Conv2d(channels, kept, 1, bias=False)
                layers[f"transition{number}"] = nn.Sequential(order(norm, conv, pool=nn.AvgPool2d(2)))
                channels = kept
        if not once:
            layers |= _activated(norm, activation, channels)
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
