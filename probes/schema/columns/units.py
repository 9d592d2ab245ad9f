"""Columns of table ``units``: the heads of each attention and the experts of each mixture."""

from __future__ import annotations

from probes.schema.columns.column import Column

_ATTENTION = "up to 32 queries of up to 8 samples of each pass, evenly spread, and all of their keys"
_ROUTER = "all tokens of each pass; of a mixture of experts"

ATTENTION_COLUMNS = (
    Column(
        "attention_logit_max",
        "1",
        "max q.k scale + mask, over the keys that the mask allows",
        _ATTENTION,
        "Dehghani et al. 2023; Wortsman et al. 2023",
    ),
    Column(
        "attention_entropy",
        "nats",
        "mean over queries of -sum_j p_j log p_j, p = softmax(logits)",
        _ATTENTION,
        "Zhai et al. 2023",
    ),
)
ROUTER_COLUMNS = (
    Column("router_load", "1", "share of the router's choices that fall on the expert", _ROUTER, "Fedus et al. 2022"),
    Column(
        "router_probability",
        "1",
        "mean over tokens of p, the softmax of the router's logits, or its scores over their sum",
        _ROUTER,
        "Fedus et al. 2022",
    ),
    Column(
        "router_entropy",
        "nats",
        "mean over tokens of -sum_e p_e log p_e; the same for all experts of a router",
        _ROUTER,
    ),
)
UNIT_COLUMNS = (*ATTENTION_COLUMNS, *ROUTER_COLUMNS)
