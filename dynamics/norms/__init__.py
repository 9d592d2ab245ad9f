"""Normalisations of weights and of outputs, and their registry.

A new norm is one file here, which ends in a :class:`~dynamics.norms.norm.Norm` (``weight_norm.py`` is a short example),
and an entry of ``_ALL`` below. Every model, ``meandrift train --norm`` and ``sweep`` then accept its name, and
``tests/dynamics/norms/test_norms.py`` runs the contract of norms on it. Add its name also to

- ``dynamics/classifier/config.py``, the help of ``--norm``,
- ``analysis/summaries/norm_names.py``, its name and place in figures and tables,
- ``analysis/plotting/style.py``, its colour and line,
- ``tests/dynamics/norms/test_norms.py``, the list of the registry,
- ``docs/guides/norms.md``, a row of the table; then ``python docs/generated.py --write``.
"""

from __future__ import annotations

from dynamics.norms.batch_norm import BATCH_NORM
from dynamics.norms.instance_norm import INSTANCE_NORM
from dynamics.norms.layer_norm import LAYER_NORM
from dynamics.norms.mean_centring import MeanCentring
from dynamics.norms.mean_spectral_norm import MEAN_SPECTRAL_NORM
from dynamics.norms.norm import Norm
from dynamics.norms.operator_norm_bound import OPERATOR_NORM_BOUND
from dynamics.norms.released import RELEASED_MEAN_SPECTRAL_NORM, RELEASED_SPECTRAL_NORM
from dynamics.norms.spectral.spectral_norm import SPECTRAL_NORM, SpectralNorm, spectral_norm
from dynamics.norms.spectral.stacked_matrices import spectral_norm_of_matrices
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
    "spectral_norm_of_matrices",
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
"""The normalisations by their names in the option ``--norm``."""


def norm_named(name: str) -> Norm:
    """Return the normalisation of that name.

    Raises:
        ValueError: There is no such name; the message lists the valid names.
    """
    if name not in NORMS:
        raise ValueError(f"no norm {name!r}: expected one of {', '.join(NORMS)}")
    return NORMS[name]
