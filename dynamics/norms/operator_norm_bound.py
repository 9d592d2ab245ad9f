"""Convolutions with an operator norm of at most beta, found by power iteration through the convolution itself."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from dynamics.norms.eval_mode import evaluating
from dynamics.norms.functional_transforms import write
from dynamics.norms.linear_map import LinearMap
from dynamics.norms.norm import Norm
from dynamics.norms.spectral.plain_division import widened
from dynamics.norms.spectral.power_iteration import MEMORY, to_unit_length
from dynamics.norms.torch_internals import in_backward
from dynamics.norms.weight_matrix import LAYERS


class OperatorNormBound(nn.Module):
    """Parametrization ``W -> W / max(1, sigma / beta)``, sigma = max |W * x| / |x| over inputs of one shape.

    sigma is the operator norm of the convolution with its stride and padding, not of the unfolded matrix. A training
    forward makes ``n_power_iterations`` of ``u <- W * v``, ``v <- W^T * u``; u has the shape of an output and v that of
    an input. Evaluation leaves u and v alone. A weight whose sigma is below beta is not changed.

    Args:
        layer: The layer whose weight will be parametrized.
        input_shape: Shape of one input of the layer, without the batch.
        beta: Largest sigma allowed.
        n_power_iterations: Power iterations a training forward, at least 1.

    Raises:
        TypeError: The module is no linear or convolution layer.
        ValueError: beta is not positive, ``n_power_iterations`` is below 1, or the layer does not pad with zeros.

    Source: Farnia, Zhang and Tse 2019, section 5.
    """

    _u: Tensor
    _v: Tensor

    def __init__(
        self, layer: nn.Module, input_shape: tuple[int, ...], *, beta: float = 1.0, n_power_iterations: int = 1
    ) -> None:
        super().__init__()
        if beta <= 0:
            raise ValueError(f"beta: expected a positive number, got {beta}")
        if n_power_iterations < 1:
            raise ValueError(f"n_power_iterations: expected at least 1, got {n_power_iterations}")
        self.beta, self.n_power_iterations = beta, n_power_iterations
        self._map = LinearMap(layer, input_shape)
        weight = cast(Tensor, layer.weight).detach()
        v = torch.nn.functional.normalize(weight.new_empty(self._map.input_shape).normal_().flatten(), dim=0)
        self.register_buffer("_v", v.view(self._map.input_shape))
        self.register_buffer("_u", torch.ones_like(self._map(self._v, weight)))
        self._iterate(widened(weight), 15)

    @torch.no_grad()
    def _iterate(self, weight: Tensor, times: int) -> None:
        u, v = self._u.to(weight.dtype), self._v.to(weight.dtype)
        for _ in range(times):
            u = u * MEMORY + self._map(v, weight)
            to_unit_length(u)
            v = v * MEMORY + self._map.transpose(u, weight)
            to_unit_length(v)
        write(self._u, u)
        write(self._v, v)

    def forward(self, weight: Tensor) -> Tensor:
        """Return the weight, divided by sigma / beta if that quotient is above 1."""
        with torch.autocast(weight.device.type, enabled=False):
            W = widened(weight)
            if self.training and not in_backward():  # activation checkpointing repeats the forward in the backward
                self._iterate(W.detach(), self.n_power_iterations)
            u, v = self._u.to(W.dtype, copy=True), self._v.to(W.dtype, copy=True)
            sigma = (u * self._map(v, W)).sum()
        return (W / (sigma / self.beta).clamp_min(1)).to(weight.dtype)

    def right_inverse(self, weight: Tensor) -> Tensor:
        """Return the weight to store when a weight is assigned: the assigned weight itself."""
        return weight

    def extra_repr(self) -> str:
        """Return the settings that ``repr`` shows."""
        return f"input_shape={self._map.input_shape}, beta={self.beta}"


def bound_operator_norm(layer: nn.Module, input_shape: tuple[int, ...], *, beta: float = 1.0) -> nn.Module:
    """Keep a layer's operator norm at or below beta from now on, for inputs of ``input_shape``, and return the layer.

    Raises:
        TypeError: The module is no linear or convolution layer.
        ValueError: See :class:`OperatorNormBound`.
    """
    parametrize.register_parametrization(layer, "weight", OperatorNormBound(layer, input_shape, beta=beta))
    return layer


def bound_operator_norms(model: nn.Module, example: Tensor, *, beta: float = 1.0) -> nn.Module:
    """Keep the operator norm of every linear and convolution layer at or below beta, and return the model.

    Args:
        model: Run once on ``example``, in eval mode and without gradient, to see each layer's input.
        example: One batch of inputs of the size that the model will be trained on.
        beta: Largest operator norm allowed.

    Raises:
        ValueError: The model's forward calls no linear or convolution layer.
    """
    shapes = input_shapes(model, example)
    if not shapes:
        raise ValueError(f"{type(model).__name__} has no linear or convolution layer that its forward calls")
    for layer, shape in shapes.items():
        bound_operator_norm(layer, shape, beta=beta)
    return model


def input_shapes(model: nn.Module, example: Tensor) -> dict[nn.Module, tuple[int, ...]]:
    """Return the shape of one input, without the batch, of each linear and convolution layer, in order of first use.

    A linear layer maps only the last dimension: its shape is ``(in_features,)``.
    """
    shapes: dict[nn.Module, tuple[int, ...]] = {}

    def see(layer: nn.Module, inputs: tuple[Any, ...]) -> None:
        shape = tuple(inputs[0].shape[-1:] if isinstance(layer, nn.Linear) else inputs[0].shape[1:])
        shapes.setdefault(layer, shape)

    hooks = [m.register_forward_pre_hook(see) for m in model.modules() if isinstance(m, LAYERS)]
    try:
        with evaluating(model), torch.no_grad():
            model(example)
    finally:
        for hook in hooks:
            hook.remove()
    return shapes


OPERATOR_NORM_BOUND = Norm("sn_beta", source="Farnia, Zhang and Tse 2019, section 5", whole_model=bound_operator_norms)
