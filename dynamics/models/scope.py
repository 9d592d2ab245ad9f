"""How much of a network a norm reaches: all of it, as the paper's text says, or what the released scripts change."""

from __future__ import annotations

SCOPES = ("full", "released")


def check_scope(scope: str) -> None:
    """Refuse a scope that is neither ``full`` nor ``released``.

    Raises:
        ValueError: It is neither.
    """
    if scope not in SCOPES:
        raise ValueError(f"no scope {scope!r}: expected one of {', '.join(SCOPES)}")
