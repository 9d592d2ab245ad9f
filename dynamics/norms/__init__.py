"""Normalisations: what divides the weight, what re-centres the output, and the registry of both."""

from __future__ import annotations

from torch import nn

from dynamics.norms.batch_norm import batch_norm
from dynamics.norms.mean_centring import MeanCentring
from dynamics.norms.norm import Norm
from dynamics.norms.spectral_norm import SpectralNorm, spectral_norm

__all__ = ["NORMS", "MeanCentring", "Norm", "SpectralNorm", "norm_named", "spectral_norm"]


def _centring(channels: int, dimensions: int) -> nn.Module:
    del dimensions  # one class serves every number of them
    return MeanCentring(channels, inplace=True)


_ALL = (
    Norm("none", source="-"),
    Norm("bn", source="Ioffe and Szegedy 2015; Eq. 1", module=batch_norm),
    Norm("sn", source="Miyato et al. 2018; Eq. 2", weight=spectral_norm),
    Norm("msn", source="Eq. 6, 7", weight=spectral_norm, module=_centring),
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
