"""The paper's GAN pair: the generator and critic of Miyato et al. for 32x32 images."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace

import torch
from torch import Tensor, nn

from dynamics.models.parts.blocks import block
from dynamics.models.parts.scope import check_scope
from dynamics.norms.norm import Norm

RELEASED_CENTRED = (4, 6, 7)  # the critic's layers that the released scripts centre, counted from 1


def _relu() -> nn.Module:
    return nn.ReLU(inplace=True)


def _check_size(image_size: int) -> None:
    if image_size < 8 or image_size % 8:
        raise ValueError(f"the GAN halves images three times: expected a multiple of 8, got {image_size}")


class Critic(nn.Module):
    """Seven convolutions and a linear layer to one score: 2,935,873 parameters for 32x32 colour images without a norm.

    Convolutions of 3x3 and of 4x4 with stride 2 alternate; they have w, w, 2w, 2w, 4w, 4w and 8w output channels. Norm
    and LeakyReLU(0.1) follow each. The linear layer's weight is normalised too.

    Args:
        norm: The normalisation.
        in_channels: Channels of the images.
        image_size: Height and width of the images, a multiple of 8.
        width: w, 64 in the paper.
        scope: ``full`` centres or batch-normalises every convolution. ``released`` centres only layers 4, 6 and 7, as
            the authors' MSN script does.

    Raises:
        ValueError: The image size is no multiple of 8, or the scope is unknown.
    """

    def __init__(
        self, norm: Norm, *, in_channels: int = 3, image_size: int = 32, width: int = 64, scope: str = "full"
    ) -> None:
        super().__init__()
        _check_size(image_size)
        check_scope(scope, norm)
        uncentred = replace(norm, module=None)
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        channels = in_channels
        for number, factor in enumerate((1, 1, 2, 2, 4, 4, 8), start=1):
            kernel, stride = (3, 1) if number % 2 else (4, 2)
            conv = nn.Conv2d(channels, factor * width, kernel, stride, padding=1)
            released_plain = scope == "released" and norm.changes_weight and number not in RELEASED_CENTRED
            kind = uncentred if released_plain else norm
            layers[f"block{number}"] = block(conv, channels=factor * width, norm=kind)
            channels = factor * width
        self.features = nn.Sequential(layers)
        self.classifier = norm.weight(nn.Linear(channels * (image_size // 8) ** 2, 1))
        self._image = (in_channels, image_size, image_size)

    def forward(self, images: Tensor) -> Tensor:
        """Return the scores, ``(N, 1)``, of images ``(N, in_channels, image_size, image_size)``."""
        return self.classifier(self.features(images).flatten(1))

    def example_input(self) -> Tensor:
        """Return one blank image."""
        return torch.zeros(1, *self._image)


class Generator(nn.Module):
    """Five transposed convolutions from noise to an image in -1..1.

    The first has 8w output channels at an eighth of the image's size. Three of 4x4 with stride 2 follow, to 4w, 2w and
    w channels. Norm and ReLU follow each of these four. The last, of 3x3, makes the image, and tanh follows. Only a
    norm for whole models (sn_beta) changes the last layer.

    Args:
        norm: The normalisation; the paper's runs all have batch norm.
        in_channels: Channels of the images.
        image_size: Height and width of the images, a multiple of 8.
        latent: Length of the noise vector, 128 in the paper.
        width: w, 64 in the paper.

    Raises:
        ValueError: The image size is no multiple of 8.
    """

    def __init__(
        self, norm: Norm, *, in_channels: int = 3, image_size: int = 32, latent: int = 128, width: int = 64
    ) -> None:
        super().__init__()
        _check_size(image_size)
        self.latent = latent
        first = nn.ConvTranspose2d(latent, 8 * width, image_size // 8)
        layers = OrderedDict(block1=block(first, channels=8 * width, norm=norm, activation=_relu))
        for number, factor in enumerate((4, 2, 1), start=2):
            conv = nn.ConvTranspose2d(2 * factor * width, factor * width, 4, stride=2, padding=1)
            layers[f"block{number}"] = block(conv, channels=factor * width, norm=norm, activation=_relu)
        self.features = nn.Sequential(layers)
        self.image = nn.Sequential(
            OrderedDict(conv=nn.ConvTranspose2d(width, in_channels, 3, padding=1), activation=nn.Tanh())
        )

    def forward(self, noise: Tensor) -> Tensor:
        """Return images, ``(N, in_channels, image_size, image_size)``, made from noise ``(N, latent)``."""
        return self.image(self.features(noise[:, :, None, None]))

    def example_input(self) -> Tensor:
        """Return one noise vector of zeros."""
        return torch.zeros(1, self.latent)
