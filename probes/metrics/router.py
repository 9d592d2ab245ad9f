"""Load, probability and entropy of the router of a mixture of experts: the rows of table ``units`` that are experts."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from probes.metrics.channels import side_by_side
from probes.metrics.metric import Metric
from probes.schema import UNITS

EXPERTS = 1.0  # first entry of a vector: its units are experts


class ExpertSums(NamedTuple):
    """Sums over some tokens for each expert.

    The sums of one router can be merged.

    Attributes:
        choices: How often each expert was chosen, ``(experts,)`` float64.
        probabilities: Sum over tokens of its probability, ``(experts,)`` float64.
        entropy: Sum over tokens of the entropy, a number.
        tokens: Number of tokens.
    """

    choices: Tensor
    probabilities: Tensor
    entropy: Tensor
    tokens: Tensor


def expert_sums(scores: Tensor, chosen: Tensor) -> ExpertSums:
    """Return the sums of some tokens.

    If no score is negative, the scores are probabilities up to a factor (a softmax, sigmoids): ``p = s / sum(s)``.
    Otherwise they are logits: ``p = softmax(s)``. A NaN gives NaN probabilities and entropy.

    Args:
        scores: The scores by which experts are chosen, ``(tokens, experts)``.
        chosen: The experts chosen for each token, ``(tokens, k)``.
    """
    wide = scores if scores.dtype == torch.float64 else scores.float()
    shares = wide / wide.sum(-1, keepdim=True)
    probabilities = torch.where((wide >= 0).all(), shares, wide.softmax(-1)).double()
    ones = torch.ones(chosen.numel(), dtype=torch.float64, device=scores.device)
    choices = ones.new_zeros(scores.shape[1]).scatter_add_(0, chosen.reshape(-1), ones)
    entropy = torch.special.entr(probabilities).sum()
    return ExpertSums(choices, probabilities.sum(0), entropy, torch.full_like(entropy, len(scores)))


def merged_experts(parts: list[ExpertSums]) -> ExpertSums:
    """Return the sums of all tokens.

    Parts whose number of experts differs from the first are left out.
    """
    alike = [part for part in parts if len(part.choices) == len(parts[0].choices)]
    return ExpertSums(*(torch.stack(list(each)).sum(0) for each in zip(*alike, strict=True)))


def expert_vector(sums: ExpertSums) -> Tensor:
    """Return one router as a vector, ``(2 + 3 experts,)`` float64: kind, experts, load, probability, entropy.

    No tokens give NaN.
    """
    experts = len(sums.choices)
    head = torch.tensor([EXPERTS, float(experts)], dtype=torch.float64, device="cpu")
    entropy = (sums.entropy / sums.tokens).expand(experts)
    load = sums.choices / sums.choices.sum()
    return torch.cat([head.to(load.device, non_blocking=True), load, sums.probabilities / sums.tokens, entropy])


ROUTER = Metric("router", "transformers", "router", side_by_side, table=UNITS, min_steps_between=100)
