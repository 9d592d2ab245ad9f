"""A spectral norm other than 1: W -> sigma W / sigma(W)."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from torch import Tensor, nn
from torch.nn.utils import parametrize

from dynamics.norms.norm import Norm
from dynamics.norms.operator_norm_bound import OPERATOR_NORM_BOUND, bound_operator_norms

DIVIDING = ("sn", "msn")  # norms that divide by sigma(W)


class Times(nn.Module):
    """Parametrization ``W -> factor W``, applied after another parametrization."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, weight: Tensor) -> Tensor:
        """Return ``factor W``."""
        return self.factor * weight

    def right_inverse(self, weight: Tensor) -> Tensor:
        """Return the assigned weight divided by the factor."""
        return weight / self.factor

    def extra_repr(self) -> str:
        """Return the settings that ``repr`` shows."""
        return f"{self.factor}"


def with_sigma(norm: Norm, sigma: float) -> Norm:
    """Return a norm that gives weights the spectral norm sigma; ``sn_beta`` gives an operator norm of at most sigma.

    Raises:
        ValueError: sigma is not above 0, or the norm does not fix a spectral norm.
    """
    if not sigma > 0:
        raise ValueError(f"sigma {sigma}: expected a number above 0.")
    if sigma == 1:
        return norm
    if norm.name == OPERATOR_NORM_BOUND.name:
        return replace(norm, whole_model=partial(bound_operator_norms, beta=sigma))
    if norm.name not in DIVIDING:
        raise ValueError(f"sigma {sigma:g}: norm {norm.name!r} holds no spectral norm; expected sn, msn or sn_beta.")

    def weight(layer: nn.Module) -> nn.Module:
        # unsafe: torch's check would read the weight and thus make an additional power iteration.
        parametrize.register_parametrization(norm.weight(layer), "weight", Times(sigma), unsafe=True)
        return layer

    return replace(norm, weight=weight)
