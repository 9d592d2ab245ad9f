"""Normalisations of weights and of outputs, and their registry."""

from __future__ import annotations

from dynamics.norms.batch_norm import BATCH_NORM
from dynamics.norms.instance_norm import INSTANCE_NORM
from dynamics.norms.layer_norm import LAYER_NORM
from dynamics.norms.mean_centring import MeanCentring
from dynamics.norms.mean_spectral_norm import MEAN_SPECTRAL_NORM
from dynamics.norms.norm import Norm
from dynamics.norms.operator_norm import OPERATOR_NORM_BOUND
from dynamics.norms.released import RELEASED_MEAN_SPECTRAL_NORM, RELEASED_SPECTRAL_NORM
from dynamics.norms.spectral.spectral_norm import SPECTRAL_NORM, SpectralNorm, spectral_norm
from dynamics.norms.spectral_regularisation import SpectralRegularisation
from dynamics.norms.surgery.convert import convert
from dynamics.norms.surgery.fold import fold
from dynamics.norms.weight_norm import MEAN_WEIGHT_NORM, WEIGHT_NORM

__all__ = [
    "NORMS",
    "MeanCentring",
    "Norm",
    "SpectralNorm",
    "SpectralRegularisation",
    "convert",
    "fold",
    "norm_named",
    "spectral_norm",
]

_ALL = (
    Norm("none", source="-"),
    BATCH_NORM,
    SPECTRAL_NORM,
    MEAN_SPECTRAL_NORM,
    WEIGHT_NORM,
    MEAN_WEIGHT_NORM,
    LAYER_NORM,
    INSTANCE_NORM,
    OPERATOR_NORM_BOUND,
    RELEASED_SPECTRAL_NORM,
    RELEASED_MEAN_SPECTRAL_NORM,
)
NORMS: dict[str, Norm] = {kind.name: kind for kind in _ALL}


def norm_named(name: str) -> Norm:
    """Return the normalisation of that name.

    Raises:
        ValueError: No such name; the message lists those there are.
    """
    if name not in NORMS:
        raise ValueError(f"no norm {name!r}: expected one of {', '.join(NORMS)}")
    return NORMS[name]
