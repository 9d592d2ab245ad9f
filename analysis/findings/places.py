"""Where a finding holds, in words: up to three layers by name, more of them by the first name and their number."""

from __future__ import annotations

from collections.abc import Sequence

_NAMED = 3


def place(layer: str, affected: Sequence[str]) -> str:
    """Return the layers of a finding: ``layer a``, ``layers a, b and c``, ``layer a and 4 other layers``.

    Args:
        layer: The layer that the finding names, which comes first; empty for a finding of the whole run.
        affected: All layers of the finding.

    Returns:
        The words; empty for a finding of the whole run.
    """
    if not layer:
        return ""
    beside = [name for name in affected if name != layer]
    if 0 < len(beside) < _NAMED:
        return f"layers {joined([layer, *beside])}"
    return f"layer {layer} and {len(beside)} other layers" if beside else f"layer {layer}"


def other_layers(layer: str, affected: Sequence[str]) -> str:
    """Return the layers beside the named one: ``layer b``, ``layers b and c``, ``4 other layers``; empty for none."""
    beside = [name for name in affected if name != layer]
    if len(beside) >= _NAMED:
        return f"{len(beside)} other layers"
    return place(beside[0], beside) if beside else ""


def joined(words: Sequence[str]) -> str:
    """Return words as a list in a sentence: ``a``, ``a and b``, ``a, b and c``."""
    return " and ".join(part for part in (", ".join(words[:-1]), *words[-1:]) if part)
