"""The load of the most loaded expert of every mixture at every step, or the router's entropy."""

from __future__ import annotations

from dataclasses import dataclass

from analysis.figures.attention_map import AttentionMap


@dataclass(frozen=True, kw_only=True)
class RouterMap(AttentionMap):
    """Mixture of experts by step, drawn as in :class:`AttentionMap`.

    Attributes:
        column: ``router_load``, of which the largest share is shown, or ``router_entropy``.
    """

    column: str = "router_load"
    name = "router_map"
    title = "Routers over depth and time"
