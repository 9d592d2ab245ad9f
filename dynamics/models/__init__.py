"""The paper's networks, each with any norm."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import nn

from dynamics.models.cnn3 import CNN3
from dynamics.models.densenet_bc import DenseNetBC
from dynamics.models.gan import Critic, Generator
from dynamics.models.vgg7 import VGG7
from dynamics.norms import norm_named
from dynamics.norms.norm import Norm
from dynamics.norms.spectral.precompute import precompute_before_forward

__all__ = ["MODELS", "build"]

MODELS: dict[str, type[Any]] = {  # each also has example_input()
    "cnn3": CNN3,
    "vgg7": VGG7,
    "densenet_bc": DenseNetBC,
    "critic": Critic,
    "generator": Generator,
}
CLASSIFIERS = ("cnn3", "vgg7", "densenet_bc")


def build(
    model: str,
    norm: str | Norm,
    *,
    in_channels: int = 1,
    image_size: int = 28,
    num_classes: int = 10,
    **model_options: Any,
) -> nn.Module:
    """Return a freshly initialised network of the paper with a norm.

    From the same state of torch's generator all norms start with the same weights.

    Args:
        model: One of ``MODELS``.
        norm: One of ``dynamics.norms.NORMS`` by its name, or a norm that an intervention has changed.
        in_channels: Channels of the images.
        image_size: Height and width of the images.
        num_classes: Outputs of a classifier; the GAN's two networks have none.
        **model_options: Options of this model only, such as DenseNet's ``depth``.

    Raises:
        ValueError: There is no such model or norm; the message lists the valid names.
    """
    if model not in MODELS:
        raise ValueError(f"no model {model!r}: expected one of {', '.join(MODELS)}")
    kind = _drawing_aside(norm_named(norm) if isinstance(norm, str) else norm)
    if model in CLASSIFIERS:
        model_options["num_classes"] = num_classes
    network = MODELS[model](kind, in_channels=in_channels, image_size=image_size, **model_options)
    # Convolutions and poolings are 1.1 to 1.4 times as fast on channels-last images, with every norm.
    network = network.to(memory_format=torch.channels_last)
    if kind.whole_model is not None:
        return kind.whole_model(network, network.example_input())
    return precompute_before_forward(network)


def _drawing_aside(norm: Norm) -> Norm:
    """Return the norm, whose random vectors then leave the random stream of the next layer's weights unchanged."""

    def weight(layer: nn.Module) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            return norm.weight(layer)

    return replace(norm, weight=weight) if norm.changes_weight else norm
