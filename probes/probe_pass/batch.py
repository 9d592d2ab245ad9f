"""The probe batch: a copy of the user's batch, moved to the model's device, and the call of the model with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn


class ProbeBatch:
    """A fixed batch for a model.

    Args:
        given: A tensor or another single argument; a tuple or list of positional arguments; a mapping of keyword
            arguments; or a function of the model that passes a batch through it.

    Raises:
        ValueError: The batch holds no tensor with samples.
    """

    def __init__(self, given: Any) -> None:
        self._call = given if callable(given) and not isinstance(given, nn.Module) else None
        self._given = None if self._call is not None else _copied(given)
        tensors = list(_tensors(self._given))
        if self._call is None and not any(tensor.ndim and len(tensor) for tensor in tensors):
            raise ValueError(
                f"probe_batch={type(given).__name__}: no tensor with samples in it. Give what the model is called with:"
                " a tensor, a tuple of arguments, a mapping of keyword arguments, or a function of the model."
            )
        self.samples = max((len(tensor) for tensor in tensors if tensor.ndim), default=0)

    def tensors(self) -> list[Tensor]:
        """Return the tensors of the batch."""
        return list(_tensors(self._given))

    def move(self, device: torch.device) -> None:
        """Move the batch to a device, once."""
        if any(tensor.device != device for tensor in _tensors(self._given)):
            self._given = _mapped(self._given, lambda tensor: tensor.to(device, non_blocking=True))

    def pass_through(self, model: nn.Module) -> None:
        """Call the model with the batch.

        The model's output is dropped.
        """
        if self._call is not None:
            self._call(model)
        elif isinstance(self._given, Mapping):
            model(**self._given)
        elif isinstance(self._given, (tuple, list)):
            model(*self._given)
        else:
            model(self._given)


def _copied(value: Any) -> Any:
    return _mapped(value, lambda tensor: tensor.detach().clone())


def _mapped(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, Mapping):
        return {key: _mapped(item, change) for key, item in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(_mapped(item, change) for item in value))
    if isinstance(value, (tuple, list)):
        return type(value)(_mapped(item, change) for item in value)
    return value


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _tensors(item)
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from _tensors(item)
