"""The scope of a norm: the layers that it normalises, as in the paper's text or as in the released scripts."""

from __future__ import annotations

from dynamics.norms.norm import Norm

SCOPES = ("full", "released")


def check_scope(scope: str, norm: Norm) -> None:
    """Refuse a scope that is neither ``full`` nor ``released``, or that the norm cannot have.

    Raises:
        ValueError: There is no such scope, or it is ``released`` and the norm applies to the whole model at once.
    """
    if scope not in SCOPES:
        raise ValueError(f"no scope {scope!r}: expected one of {', '.join(SCOPES)}")
    if scope == "released" and norm.whole_model is not None:
        raise ValueError(
            f"scope 'released' leaves layers out, and norm {norm.name!r} reaches them all: use scope 'full'"
        )
