"""The logits of some queries, from the arguments of a function that computes attention.

Three functions are seen: ``F.scaled_dot_product_attention``, ``F.multi_head_attention_forward``
(``nn.MultiheadAttention``), and the softmax over the last of four dimensions, ``(batch, head, query, key)``, with which
attention in eager code ends. Only the logits of the sampled queries are computed, never a whole matrix of queries by
keys.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from probes.metrics.attention import QUERIES, SAMPLES, HeadSums, head_sums, spread_places

_SDPA = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal", "scale", "enable_gqa")
_SOFTMAX = ("input", "dim")
_MHA = (
    *("query", "key", "value", "embed_dim_to_check", "num_heads", "in_proj_weight", "in_proj_bias", "bias_k", "bias_v"),
    *("add_zero_attn", "dropout_p", "out_proj_weight", "out_proj_bias", "training", "key_padding_mask", "need_weights"),
    *("attn_mask", "use_separate_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight", "static_k"),
    *("static_v", "average_attn_weights", "is_causal"),
)


def arguments(names: Sequence[str], args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a call by name.

    Arguments that were not passed are left out.
    """
    return {**dict(zip(names, args, strict=False)), **kwargs}


def attention_parts(function: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[HeadSums] | None:
    """Return the sums of the sampled queries of a call, one for each sample; None of any other function.

    Raises:
        ValueError: The call has a form that is not known.
    """
    known = _KNOWN.get(function)
    if known is None:
        return None
    names, read = known
    return list(read(arguments(names, args, kwargs)))


def _of_scaled_dot_product(given: Mapping[str, Any]) -> Iterator[HeadSums]:
    causal, scale = bool(given.get("is_causal")), given.get("scale")
    yield from _of_queries_and_keys(given["query"], given["key"], given.get("attn_mask"), scale=scale, causal=causal)


def _of_queries_and_keys(
    query: Tensor, key: Tensor, mask: Tensor | None, *, scale: float | None = None, causal: bool = False
) -> Iterator[HeadSums]:
    """Yield the sums of each sample.

    Args:
        query: ``(..., head, query, feature)``, or without heads.
        key: ``(..., head, key, feature)``; one head of keys may serve several heads of queries (grouped attention).
        mask: Broadcastable to ``(..., head, query, key)``: True where a query may attend to a key, or a number to add.
        scale: Factor of the dot products; None stands for ``1 / sqrt(features)``.
        causal: Whether the i-th query may attend to the first i keys only. This takes the place of a mask.
    """
    check(query, key)
    factor = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    queries, keys = _with_heads(query), _with_heads(key)
    shape = (*queries.shape[:3], keys.shape[2])
    rows = spread_places(shape[2], QUERIES, query.device)
    if causal:  # only the rows that are needed, never the whole matrix
        earlier = torch.arange(shape[3], device=query.device) <= rows.unsqueeze(1)
    masks = None if mask is None else _with_heads(mask)
    for sample in range(len(queries))[:: max(1, -(-len(queries) // SAMPLES))]:
        some, all_keys = _wide(queries[sample].index_select(1, rows)), _wide(keys[sample])
        repeated = all_keys.repeat_interleave(shape[1] // len(all_keys), 0) if len(all_keys) < shape[1] else all_keys
        logits = some @ repeated.mT * factor
        if masks is None:
            yield head_sums(logits, earlier if causal else None)
            continue
        mine = masks[sample if len(masks) > 1 else 0]
        mine = mine.index_select(1, rows) if mine.shape[1] > 1 else mine
        yield head_sums(logits, mine) if mine.dtype == torch.bool else head_sums(logits + mine)


def _of_softmax(given: Mapping[str, Any]) -> Iterator[HeadSums]:
    logits = given["input"]
    if logits.ndim != 4 or given.get("dim") not in (-1, 3):
        return
    check(logits)
    rows = spread_places(logits.shape[2], QUERIES, logits.device)
    for sample in range(len(logits))[:: max(1, -(-len(logits) // SAMPLES))]:
        yield head_sums(logits[sample].index_select(1, rows))


def _of_multi_head(given: Mapping[str, Any]) -> Iterator[HeadSums]:
    if any(given.get(name) is not None for name in ("bias_k", "bias_v", "static_k")) or given.get("add_zero_attn"):
        raise ValueError("an attention with bias_k, add_zero_attn or static_k: its logits are not read.")
    heads, (query, key) = given["num_heads"], (_batched(given["query"]), _batched(given["key"]))
    check(query, key)
    weights, biases = _projections(given, query.shape[-1])
    (q, k) = (
        _split(F.linear(_wide(x), _wide(w), None if b is None else _wide(b)), heads)
        for x, w, b in zip((query, key), weights, biases, strict=True)
    )
    mask = _multi_head_mask(given.get("attn_mask"), given.get("key_padding_mask"), q, k)
    yield from _of_queries_and_keys(q, k, mask)


def _projections(given: Mapping[str, Any], width: int) -> tuple[list[Tensor], list[Tensor | None]]:
    bias = given.get("in_proj_bias")
    biases = [None, None] if bias is None else list(bias[: 2 * width].chunk(2))
    if given.get("use_separate_proj_weight"):
        return [given["q_proj_weight"], given["k_proj_weight"]], biases
    return list(given["in_proj_weight"][: 2 * width].chunk(2)), biases


def _multi_head_mask(mask: Tensor | None, padding: Tensor | None, q: Tensor, k: Tensor) -> Tensor | None:
    """Return both masks in one, ``(batch, head, query, key)``, as numbers to add.

    True in these masks means left out.
    """
    total = None
    for each, view in ((mask, None), (padding, (len(q), 1, 1, k.shape[2]))):
        if each is not None:
            zeros = torch.zeros(each.shape, dtype=q.dtype, device=q.device)
            added = zeros.masked_fill(each, -torch.inf) if each.dtype == torch.bool else each.to(q.dtype)
            shaped = added.reshape(view) if view else _of_heads(added, q)
            total = shaped if total is None else total + shaped
    return total


def _of_heads(mask: Tensor, q: Tensor) -> Tensor:
    return mask if mask.ndim < 3 else mask.reshape(len(q), -1, *mask.shape[1:])  # (batch * head, query, key)


def _batched(x: Tensor) -> Tensor:
    return x if x.ndim == 3 else x.unsqueeze(1)  # (position, batch, feature)


def _split(x: Tensor, heads: int) -> Tensor:
    positions, batch, width = x.shape
    return x.reshape(positions, batch, heads, width // heads).permute(1, 2, 0, 3)


def _with_heads(x: Tensor) -> Tensor:
    """Return a tensor whose dimensions before head, row and column are joined into one first dimension."""
    while x.ndim < 4:
        x = x.unsqueeze(0) if x.ndim < 3 else x.unsqueeze(1)
    return x.flatten(0, -4)


def _wide(x: Tensor) -> Tensor:
    return x.detach() if x.dtype == torch.float64 else x.detach().float()


def check(*tensors: Tensor) -> None:
    """Refuse tensors that cannot be read in this process alone.

    Raises:
        ValueError: A tensor is sharded or nested, or has no values.
    """
    for tensor in tensors:
        if hasattr(tensor, "to_local") or tensor.is_nested or tensor.is_meta:
            raise ValueError("an attention or a router of sharded or nested tensors is not read.")


Read = Callable[[Mapping[str, Any]], Iterator[HeadSums]]
_KNOWN: dict[Any, tuple[Sequence[str], Read]] = {
    F.scaled_dot_product_attention: (_SDPA, _of_scaled_dot_product),
    F.multi_head_attention_forward: (_MHA, _of_multi_head),
    **dict.fromkeys((F.softmax, torch.softmax, Tensor.softmax), (_SOFTMAX, _of_softmax)),
}
ATTENTION_FUNCTIONS = frozenset(_KNOWN)
