"""Normalisations: what divides the weight, what re-centres the output, and the registry of both."""

from __future__ import annotations

from dynamics.norms.batch_norm import BATCH_NORM
from dynamics.norms.mean_centring import MeanCentring
from dynamics.norms.mean_spectral_norm import MEAN_SPECTRAL_NORM
from dynamics.norms.norm import Norm
from dynamics.norms.spectral_norm import SpectralNorm, spectral_norm

__all__ = ["NORMS", "MeanCentring", "Norm", "SpectralNorm", "norm_named", "spectral_norm"]

_ALL = (
    Norm("none", source="-"),
    BATCH_NORM,
    Norm("sn", source="Miyato et al. 2018; Eq. 2", weight=spectral_norm),
    MEAN_SPECTRAL_NORM,
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
