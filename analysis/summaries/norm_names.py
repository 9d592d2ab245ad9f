"""The names of the norms, as figures and tables write them, and their order."""

from __future__ import annotations

NORM_ORDER = ("none", "bn", "sn", "msn", "wn", "wn_mean", "ln", "in")
_LABELS = {
    "none": "no norm",
    "bn": "BN",
    "sn": "SN",
    "msn": "MSN",
    "wn": "WN",
    "wn_mean": "WN + mean",
    "ln": "LN",
    "in": "IN",
    "sn_beta": "SN β",
}


def norm_label(norm: str) -> str:
    """Return how a norm is written in a figure: ``"msn"`` is MSN, ``"released_bn"`` is released BN."""
    if norm.startswith("released_"):
        return f"released {norm_label(norm.removeprefix('released_'))}"
    return _LABELS.get(norm, norm)
