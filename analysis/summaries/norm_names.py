"""Names and order of the norms in figures and tables."""

from __future__ import annotations

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
NORM_ORDER = tuple(_LABELS)


def norm_label(norm: str) -> str:
    """Return the name of a norm in a figure: ``"msn"`` is MSN, ``"released_bn"`` is released BN.

    A norm that is not known keeps its own name.
    """
    if norm.startswith("released_"):
        return f"released {norm_label(norm.removeprefix('released_'))}"
    return _LABELS.get(norm, norm)
