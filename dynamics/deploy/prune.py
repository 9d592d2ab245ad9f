"""Weights of smallest magnitude set to 0, over all layers together, without training afterwards."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from dynamics.norms.weight_matrix import LAYERS


@torch.no_grad()
def pruned(network: nn.Module, share: float) -> nn.Module:
    """Return a copy in which a share of all linear and convolution weights, those nearest to 0, are 0.

    One threshold holds for all layers, so layers lose different shares. Weights are compared as they are: fold first,
    for sigma and batch norm's scale decide how large a weight acts. Biases stay. The tensors keep their shapes, so the
    network is neither smaller nor faster without a runtime that leaves out zeros.

    Own code because ``torch.nn.utils.prune.global_unstructured`` refuses weights in channels-last memory.

    Args:
        network: One whose weights are plain, from :func:`dynamics.deploy.folding.fold_network`.
        share: 0 to 1, of all weights, rounded to whole weights. Of equal magnitudes any are taken.

    Raises:
        ValueError: The share is outside 0 to 1.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share {share}: expected 0 to 1, the part of the weights that becomes 0.")
    network = copy.deepcopy(network).requires_grad_(False)
    weights = layer_weights(network)
    if not weights:
        return network
    magnitudes = torch.cat([weight.abs().flatten() for weight in weights])
    kept = torch.ones_like(magnitudes, dtype=torch.bool)
    kept[magnitudes.topk(round(share * len(magnitudes)), largest=False).indices] = False
    for weight, mask in zip(weights, kept.split([weight.numel() for weight in weights]), strict=True):
        weight.masked_fill_(~mask.view(weight.shape), 0)  # not * 0, which makes -0 of a negative weight
    return network


def layer_weights(network: nn.Module) -> list[Tensor]:
    """Return the weights of the linear and convolution layers, each tensor once."""
    weights = [layer.weight for layer in network.modules() if isinstance(layer, LAYERS)]
    return list({id(weight): weight for weight in weights}.values())


def zero_share(network: nn.Module) -> float:
    """Return the share of linear and convolution weights that are 0; NaN of a network without such layers."""
    weights = [weight.flatten() for weight in layer_weights(network)]
    return float((torch.cat(weights) == 0).double().mean()) if weights else float("nan")
