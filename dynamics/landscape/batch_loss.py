"""The loss of a classifier on one fixed batch, as a function of its parameters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

Parameters = Mapping[str, Tensor]


class Gradient(NamedTuple):
    """The loss at a point and its gradient.

    Attributes:
        loss: The loss, a scalar.
        point: The parameters that the forward used. A released norm projects them first.
        gradient: The gradient by the parameter's name.
    """

    loss: Tensor
    point: dict[str, Tensor]
    gradient: dict[str, Tensor]


class BatchLoss:
    """Mean cross-entropy on one batch in training mode, with batch moments, dropout and power iterations.

    Each evaluation starts from the network's present buffers (running moments, vectors of power iterations) and from
    the same random numbers. All evaluations are thus of the same function. Parameters, buffers, gradients, modes and
    torch's generators are bitwise unchanged afterwards.

    Args:
        model: Maps inputs to logits, ``(n, classes)`` or ``(n, time, classes)``.
        inputs: ``(n, ...)``, on the model's device.
        labels: ``(n,)`` or ``(n, time)``.
        seed: Seed of the random numbers that the forward draws.
    """

    def __init__(self, model: nn.Module, inputs: Tensor, labels: Tensor, *, seed: int = 0) -> None:
        self.model = model
        self._inputs, self._labels, self._seed = inputs, labels, seed

    @property
    def parameters(self) -> dict[str, Tensor]:
        """Copies of the trained parameters, by name, in the order of the network."""
        return {name: p.detach().clone() for name, p in self.model.named_parameters() if p.requires_grad}

    def __call__(self, parameters: Parameters) -> Tensor:
        """Return the loss at a point, differentiable with respect to the point."""
        buffers = {name: buffer.clone() for name, buffer in self.model.named_buffers()}
        # The Hessian needs second derivatives, and only the plain kernel of attention has them.
        plainly = sdpa_kernel(SDPBackend.MATH)
        with plainly, _training(self.model), _same_random_numbers(self._inputs.device, self._seed):
            logits = functional_call(self.model, {**parameters, **buffers}, (self._inputs.clone(),))
        return F.cross_entropy(logits.flatten(0, -2), self._labels.flatten())

    def gradient(self, parameters: Parameters, *, create_graph: bool = False) -> Gradient:
        """Return the loss at a point and its gradient. With ``create_graph`` the gradient can be differentiated."""
        point = {name: p.detach().clone().requires_grad_() for name, p in parameters.items()}
        with torch.enable_grad():
            loss = self(point)
            found = torch.autograd.grad(loss, list(point.values()), create_graph=create_graph, materialize_grads=True)
        if not create_graph:  # the authors' norm keeps a graph of its own
            found = tuple(gradient.detach() for gradient in found)
        return Gradient(loss.detach(), point, dict(zip(point, found, strict=True)))


def flat(tensors: Mapping[str, Tensor]) -> Tensor:
    """Return all entries as one vector."""
    return torch.cat([tensor.reshape(-1) for tensor in tensors.values()])


@contextmanager
def _training(model: nn.Module) -> Iterator[None]:
    modes = [(module, module.training) for module in model.modules()]
    model.train()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


@contextmanager
def _same_random_numbers(device: torch.device, seed: int) -> Iterator[None]:
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.default_generator.manual_seed(seed)
        for one in devices:
            with torch.cuda.device(one):
                torch.cuda.manual_seed(seed)
        yield
