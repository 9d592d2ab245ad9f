"""The paper's 3-layer CNN for MNIST."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import torch
from torch import Tensor, nn

from dynamics.models.parts.blocks import block
from dynamics.models.parts.leaky_relu import LeakyReLU
from dynamics.norms.norm import Norm


class CNN3(nn.Module):
    """Three convolutions, no pooling, one linear layer: 103,402 parameters for 28x28 grey images without a norm.

    The convolutions are 5x5 to 16 channels, 3x3 to 32, and 4x4 with stride 2 to 32, each with padding 2. Norm and
    LeakyReLU(0.1) follow each. The linear layer's weight is normalised too, but its output is not centred.

    Args:
        norm: The normalisation.
        in_channels: Channels of the images.
        image_size: Height and width of the images, even.
        num_classes: Outputs.
        activation: Makes the nonlinearity, by default LeakyReLU(0.1); the released network without a norm has ReLU.
    """

    def __init__(
        self,
        norm: Norm,
        *,
        in_channels: int = 1,
        image_size: int = 28,
        num_classes: int = 10,
        activation: Callable[[], nn.Module] = LeakyReLU,
    ) -> None:
        super().__init__()
        final_size = (image_size + 2 + 4 - 4) // 2 + 1
        self.features = nn.Sequential(
            OrderedDict(
                block1=block(nn.Conv2d(in_channels, 16, 5, padding=2), channels=16, norm=norm, activation=activation),
                block2=block(nn.Conv2d(16, 32, 3, padding=2), channels=32, norm=norm, activation=activation),
                block3=block(nn.Conv2d(32, 32, 4, stride=2, padding=2), channels=32, norm=norm, activation=activation),
            )
        )
        self.classifier = norm.weight(nn.Linear(32 * final_size**2, num_classes))
        self._image = (in_channels, image_size, image_size)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits, ``(N, num_classes)``, of images ``(N, in_channels, image_size, image_size)``."""
        return self.classifier(self.features(images).flatten(1))

    def example_input(self) -> Tensor:
        """Return one blank image."""
        return torch.zeros(1, *self._image)
