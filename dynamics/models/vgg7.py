"""The paper's VGG-7 for SVHN."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import torch
from torch import Tensor, nn

from dynamics.models.parts.blocks import block
from dynamics.models.parts.leaky_relu import LeakyReLU
from dynamics.norms.norm import Norm

POOL = 0  # stands for a 2x2 max-pool among the channel counts
LAYOUT = (32, 32, POOL, 64, 64, POOL, 128, POOL, 256, POOL)
UNPADDED = 256  # the one convolution without padding, which turns 4x4 into 2x2


class VGG7(nn.Module):
    """Six 3x3 convolutions and a linear classifier: 437,162 parameters for 32x32 colour images without a norm.

    The layers are 32, 32, pool, 64, 64, pool, 128, pool, 256 (no padding), pool: numbers are output channels of
    convolutions, and each pool is a 2x2 maximum. Norm and activation follow each convolution. The classifier's weight
    is not normalised, as in the paper's counts.

    Args:
        norm: The normalisation.
        in_channels: Channels of the images.
        image_size: Height and width of the images, at least 32.
        num_classes: Outputs.
        activation: Makes the nonlinearity, by default LeakyReLU(0.1).
        dropout: Share of activations dropped after each pool except the last; the released BN variant has 0.3 and ReLU.

    Raises:
        ValueError: The images are smaller than 32x32.
    """

    def __init__(
        self,
        norm: Norm,
        *,
        in_channels: int = 3,
        image_size: int = 32,
        num_classes: int = 10,
        activation: Callable[[], nn.Module] = LeakyReLU,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        final_size = (image_size // 8 - 2) // 2
        if final_size < 1:
            raise ValueError(f"vgg7 pools four times: expected images of at least 32x32, got {image_size}x{image_size}")
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        channels, blocks, pools = in_channels, 0, 0
        for width in LAYOUT:
            if width == POOL:
                pools += 1
                layers[f"pool{pools}"] = nn.MaxPool2d(2)
                if dropout and pools < LAYOUT.count(POOL):
                    layers[f"dropout{pools}"] = nn.Dropout(dropout)
                continue
            blocks += 1
            conv = nn.Conv2d(channels, width, 3, padding=0 if width == UNPADDED else 1)
            layers[f"block{blocks}"] = block(conv, channels=width, norm=norm, activation=activation)
            channels = width
        self.features = nn.Sequential(layers)
        self.classifier = nn.Linear(channels * final_size**2, num_classes)
        self._image = (in_channels, image_size, image_size)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits, ``(N, num_classes)``, of images ``(N, in_channels, image_size, image_size)``."""
        return self.classifier(self.features(images).flatten(1))

    def example_input(self) -> Tensor:
        """Return one blank image."""
        return torch.zeros(1, *self._image)
