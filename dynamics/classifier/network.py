"""The network of a configuration: its model, its norm and the variants of the released scripts."""

from __future__ import annotations

from typing import Any

from torch import nn

from dynamics.classifier.config import RunConfig
from dynamics.data.images import DataSet
from dynamics.models import build
from dynamics.norms import NORMS


def make_model(config: RunConfig, data: DataSet) -> nn.Module:
    """Return the configuration's model for the images of a data set, freshly initialised.

    Raises:
        ValueError: An unknown model or norm, or a model without a released scope.
    """
    return build(
        config.model,
        norm_name(config),
        in_channels=data.in_channels,
        image_size=data.image_size,
        num_classes=data.num_classes,
        **model_options(config),
    )


def norm_name(config: RunConfig) -> str:
    """Return the norm's name in the registry: the scripts' own variant where the definition is ``released``."""
    own = f"released_{config.norm}"
    return own if config.definition == "released" and own in NORMS else config.norm


def model_options(config: RunConfig) -> dict[str, Any]:
    """Return the options of a model beside its norm.

    Raises:
        ValueError: A released scope is asked of a model whose scripts normalise every layer.
    """
    if config.scope == "released" and config.model != "densenet_bc":
        raise ValueError(f"scope 'released': model {config.model!r} has one scope, 'full'; densenet_bc has both.")
    options: dict[str, Any] = {} if config.scope == "full" else {"scope": config.scope}
    if (config.model, config.norm, config.definition) == ("vgg7", "bn", "released"):
        options |= {"activation": nn.ReLU, "dropout": 0.3}  # a confound of the scripts: their SN and MSN have neither
    return options
