"""Pruning: the weights of smallest magnitude over all layers are set to 0, without training afterwards."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from dynamics.norms.weight_matrix import LAYERS


@torch.no_grad()
def pruned(network: nn.Module, share: float) -> nn.Module:
    """Return a copy in which a share of all linear and convolution weights, those nearest to 0, are 0.

    All layers have the same threshold, so they lose different shares. Fold the network first, because sigma and batch
    norm's scale change the effective size of a weight. Biases are not changed. The tensors keep their shapes, so the
    network is neither smaller nor faster without a runtime that skips zeros.

    ``torch.nn.utils.prune.global_unstructured`` is not used, because it refuses weights in channels-last memory.

    Args:
        network: A network of plain weights, from :func:`dynamics.deploy.folding.fold_network`.
        share: Share of all weights, 0 to 1, rounded to whole weights. Among equal magnitudes the choice is arbitrary.

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
        weight.masked_fill_(~mask.view(weight.shape), 0)  # not * 0, which turns a negative weight into -0
    return network


def layer_weights(network: nn.Module) -> list[Tensor]:
    """Return the weights of the linear and convolution layers, each tensor once."""
    weights = [layer.weight for layer in network.modules() if isinstance(layer, LAYERS)]
    return list({id(weight): weight for weight in weights}.values())


def zero_share(network: nn.Module) -> float:
    """Return the share of linear and convolution weights that are 0; NaN for a network without such layers."""
    weights = [weight.flatten() for weight in layer_weights(network)]
    return float((torch.cat(weights) == 0).double().mean()) if weights else float("nan")
