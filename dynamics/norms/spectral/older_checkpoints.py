"""Loading of ``torch.nn.utils.spectral_norm``'s checkpoints, whose tensors have other names, into our layers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dynamics.norms.weight_matrix import WITH_MATRIX, output_dimension, unfold_weight

NAMES = {
    "weight_orig": "parametrizations.weight.original",
    "weight_u": "parametrizations.weight.0._u",
    "weight_v": "parametrizations.weight.0._v",
}


def rename_older_tensors(layer: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Rename a layer's ``weight_orig``, ``weight_u`` and ``weight_v``, in place, before they are loaded.

    This function is a hook for ``register_load_state_dict_pre_hook``. Checkpoints of torch 0.4 have no ``weight_v``,
    and they also hold the divided weight. v is then ``W^T u / |W^T u|``, half a power iteration. A state without these
    names is not changed, nor is the state of a layer whose weight is plain again.
    """
    names = {prefix + old: prefix + new for old, new in NAMES.items()}
    weight, u, v = (state.get(name) for name in names)
    if weight is None or u is None or not hasattr(layer, "parametrizations"):
        return
    if v is None:
        state[f"{prefix}weight_v"] = _right_vector(weight, u, dim=output_dimension(layer, among=WITH_MATRIX))
    state.pop(f"{prefix}weight", None)
    for old, new in names.items():
        state[new] = state.pop(old)


@torch.no_grad()
def _right_vector(weight: Tensor, u: Tensor, *, dim: int) -> Tensor:
    return F.normalize(unfold_weight(weight, dim=dim).mH @ u, dim=0)
