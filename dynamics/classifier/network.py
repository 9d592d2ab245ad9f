"""The network of a configuration: its model, its norm and the variants of the released scripts."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from torch import nn

from dynamics.classifier.config import RunConfig
from dynamics.classifier.dataset import Data
from dynamics.data.text.text_file import PREFIX
from dynamics.data.text.text_set import TextSet
from dynamics.models import CLASSIFIERS, build
from dynamics.models.parts.leaky_relu import LeakyReLU
from dynamics.models.sequences import SEQUENCE_MODELS, build_sequence_model
from dynamics.norms import NORMS, norm_named
from dynamics.norms.interventions.shift import bind_shifts

ACTIVATIONS: dict[str, dict[str, Any]] = {"relu": {"activation": nn.ReLU}, "leaky_relu": {"activation": LeakyReLU}}
OF_SEQUENCES = ("width", "context")
OF_IMAGES = (
    *("definition", "scope", "activation", "growth", "centring", "centring_strength", "centring_momentum"),
    *("channel_mean", "channel_scale", "sigma", "spectral_regularisation", "train_images", "augmentation"),
)


def make_model(config: RunConfig, data: Data) -> nn.Module:
    """Return the configuration's model for the images or the text of a data set, freshly initialised.

    Raises:
        ValueError: A model or norm is unknown, a model of images is used for a text or the reverse, the model does not
            have a setting, or the norm does not allow an intervention.
    """
    if config.model not in (*CLASSIFIERS, *SEQUENCE_MODELS):
        known = ", ".join((*CLASSIFIERS, *SEQUENCE_MODELS))
        raise ValueError(f"no model {config.model!r}: expected one of {known}")
    if isinstance(data, TextSet):
        return _sequence_model(config, data)
    if config.model in SEQUENCE_MODELS:
        raise ValueError(
            f"model {config.model!r} reads text, and {config.data!r} are images: expected --data {PREFIX}PATH, or "
            f"{PREFIX} alone for the text that is shipped."
        )
    _check_default(config, OF_SEQUENCES, why=f"model {config.model!r} has fixed layers; those of a transformer vary.")
    network = build(
        config.model,
        config.intervention.applied(norm_named(norm_name(config))),
        in_channels=data.in_channels,
        image_size=data.image_size,
        num_classes=data.num_classes,
        **model_options(config),
    )
    return bind_shifts(network, seed=config.seed)


def _sequence_model(config: RunConfig, data: TextSet) -> nn.Module:
    if config.model not in SEQUENCE_MODELS:
        raise ValueError(
            f"model {config.model!r} reads images, and {config.data!r} is a text: expected --model "
            f"{' or '.join(SEQUENCE_MODELS)}."
        )
    _check_default(config, OF_IMAGES, why=f"of networks of images alone; model {config.model!r} has no such setting.")
    sizes = {"width": config.width or 64, "blocks": config.depth or 4, "context": data.context}
    return build_sequence_model(config.model, config.norm, characters=data.num_classes, **sizes)


def _check_default(config: RunConfig, names: tuple[str, ...], *, why: str) -> None:
    """Raise for settings that would have no effect."""
    defaults = {entry.name: entry.default for entry in fields(config)}
    if given := [name for name in names if getattr(config, name) != defaults[name]]:
        raise ValueError(f"{' and '.join(given)}: {why}")


def norm_name(config: RunConfig) -> str:
    """Return the norm's name in the registry: the scripts' variant if the definition is ``released``."""
    own = f"released_{config.norm}"
    return own if config.definition == "released" and own in NORMS else config.norm


def model_options(config: RunConfig) -> dict[str, Any]:
    """Return the options of a model beside its norm.

    Raises:
        ValueError: The scope is released but the model's scripts normalise every layer, or depth or growth is set but
            the model's layers are fixed.
    """
    if config.scope == "released" and config.model != "densenet_bc":
        raise ValueError(f"scope 'released': model {config.model!r} has one scope, 'full'; densenet_bc has both.")
    options: dict[str, Any] = {} if config.scope == "full" else {"scope": config.scope}
    sizes = {name: size for name in ("depth", "growth") if (size := getattr(config, name))}
    if sizes and config.model != "densenet_bc":
        raise ValueError(
            f"{' and '.join(sizes)}: model {config.model!r} has a fixed size; leave them out, or choose densenet_bc."
        )
    options |= sizes
    if (config.model, config.norm, config.definition) == ("vgg7", "bn", "released"):
        options |= {"activation": nn.ReLU, "dropout": 0.3}  # a confound of the scripts: their SN and MSN have neither
    if (config.model, config.definition) == ("densenet_bc", "released"):
        options["activation"] = nn.ReLU  # the scripts have ReLU with every norm
    return options | ACTIVATIONS.get(config.activation, {})
