"""Largest logit and entropy of each attention head: the rows of table ``units`` that are heads."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from probes.metrics.channels import side_by_side
from probes.metrics.metric import Metric
from probes.schema import UNITS

HEADS = 0.0  # first entry of a vector: its units are heads
QUERIES, SAMPLES = 32, 8  # of each pass, at most


class HeadSums(NamedTuple):
    """Sums over some queries for each head.

    Parts of one attention are merged.

    Attributes:
        largest: Largest logit, ``(heads,)``; -inf without a query.
        entropies: Sum over queries of the entropy, ``(heads,)`` float64.
        queries: Number of queries that may attend to a key, ``(heads,)`` float64.
    """

    largest: Tensor
    entropies: Tensor
    queries: Tensor


def spread_places(count: int, most: int, device: torch.device) -> Tensor:
    """Return at most ``most`` indices below ``count``, evenly spread, with the first and the last.

    >>> spread_places(9, 3, torch.device("cpu")).tolist(), spread_places(2, 3, torch.device("cpu")).tolist()
    ([0, 4, 8], [0, 1])
    """
    taken = min(count, most)
    places = [0] if taken == 1 else [round(i * (count - 1) / (taken - 1)) for i in range(taken)]
    return torch.tensor(places if count else [], dtype=torch.long, device="cpu").to(device, non_blocking=True)


def head_sums(logits: Tensor, allowed: Tensor | None = None) -> HeadSums:
    """Return the sums of some queries, from their logits for all keys.

    A query that may attend to no key does not count. A NaN logit gives NaN. No queries give -inf and 0.

    Args:
        logits: ``(heads, queries, keys)``, masked logits included.
        allowed: True for logits that the mask allows, broadcastable to the shape of the logits. None: a logit is
            allowed if it is above half of the smallest number of its type, because other code writes that number into
            masked entries.
    """
    if allowed is None:
        allowed = ~(logits <= torch.finfo(logits.dtype).min / 2)
    wide = logits if logits.dtype == torch.float64 else logits.float()
    masked = torch.where(allowed, wide, -torch.inf)
    counts = allowed.any(-1).expand(masked.shape[:2])
    entropies = torch.special.entr(masked.softmax(-1)).sum(-1, dtype=torch.float64)
    if not masked.numel():
        nothing = masked.new_zeros(len(masked), dtype=torch.float64)
        return HeadSums(nothing - torch.inf, nothing, nothing)
    return HeadSums(
        masked.amax((1, 2)).double(), torch.where(counts, entropies, 0.0).sum(1), counts.sum(1, dtype=torch.float64)
    )


def merged_heads(parts: list[HeadSums]) -> HeadSums:
    """Return the sums of all queries of some parts.

    Parts whose number of heads differs from the first are left out.
    """
    alike = [part for part in parts if len(part.largest) == len(parts[0].largest)]
    largest, entropies, queries = (torch.stack(list(each)) for each in zip(*alike, strict=True))
    return HeadSums(largest.amax(0), entropies.sum(0), queries.sum(0))


def head_vector(sums: HeadSums) -> Tensor:
    """Return one attention as a vector, ``(2 + 2 heads,)`` float64: kind, heads, largest logits, mean entropies.

    Without a query the numbers are NaN.
    """
    largest = torch.where(sums.queries > 0, sums.largest, torch.nan)
    head = torch.tensor([HEADS, float(len(largest))], dtype=torch.float64, device="cpu")
    return torch.cat([head.to(largest.device, non_blocking=True), largest, sums.entropies / sums.queries])


ATTENTION = Metric("attention", "transformers", "attention", side_by_side, table=UNITS, min_steps_between=100)
