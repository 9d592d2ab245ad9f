"""The network of a configuration: its model, its norm and the variants of the released scripts."""

from __future__ import annotations

from typing import Any

from torch import nn

from dynamics.classifier.config import RunConfig
from dynamics.data.images import DataSet
from dynamics.models import build
from dynamics.models.parts.leaky_relu import LeakyReLU
from dynamics.norms import NORMS, norm_named
from dynamics.norms.interventions.shift import bind_shifts

ACTIVATIONS: dict[str, dict[str, Any]] = {"relu": {"activation": nn.ReLU}, "leaky_relu": {"activation": LeakyReLU}}


def make_model(config: RunConfig, data: DataSet) -> nn.Module:
    """Return the configuration's model for the images of a data set, freshly initialised.

    Raises:
        ValueError: An unknown model or norm, a model without a released scope, or an intervention that the norm does
            not allow.
    """
    network = build(
        config.model,
        config.intervention.applied(norm_named(norm_name(config))),
        in_channels=data.in_channels,
        image_size=data.image_size,
        num_classes=data.num_classes,
        **model_options(config),
    )
    return bind_shifts(network, seed=config.seed)


def norm_name(config: RunConfig) -> str:
    """Return the norm's name in the registry: the scripts' own variant where the definition is ``released``."""
    own = f"released_{config.norm}"
    return own if config.definition == "released" and own in NORMS else config.norm


def model_options(config: RunConfig) -> dict[str, Any]:
    """Return the options of a model beside its norm.

    Raises:
        ValueError: A released scope is asked of a model whose scripts normalise every layer, or depth or growth of a
            model whose layers are fixed.
    """
    if config.scope == "released" and config.model != "densenet_bc":
        raise ValueError(f"scope 'released': model {config.model!r} has one scope, 'full'; densenet_bc has both.")
    options: dict[str, Any] = {} if config.scope == "full" else {"scope": config.scope}
    sizes = {name: size for name in ("depth", "growth") if (size := getattr(config, name))}
    if sizes and config.model != "densenet_bc":
        raise ValueError(f"{' and '.join(sizes)}: model {config.model!r} has fixed layers; densenet_bc has a choice.")
    options |= sizes
    if (config.model, config.norm, config.definition) == ("vgg7", "bn", "released"):
        options |= {"activation": nn.ReLU, "dropout": 0.3}  # a confound of the scripts: their SN and MSN have neither
    if (config.model, config.definition) == ("densenet_bc", "released"):
        options["activation"] = nn.ReLU  # with every norm of the scripts
    return options | ACTIVATIONS.get(config.activation, {})
