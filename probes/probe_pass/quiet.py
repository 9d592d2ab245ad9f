"""A pass that changes nothing: evaluation mode, no gradients, no user hooks, and all state is restored.

A forward may change the state of torch (random generators, settings), attributes of modules (a cache, a counter, a
replaced buffer), and the entries of parameters, buffers and the batch. Attributes are noted before the pass and put
back after it. Entries are copied when an operator is about to write to them. A pass that writes nothing, as nearly all
do, therefore copies nothing.
"""

from __future__ import annotations

import random
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from probes.hooks.torch_internals import quiet_attributes, without_global_hooks, written_arguments

_CONTAINERS = (list, dict, OrderedDict, set)
_ABSENT = object()


@contextmanager
def quietly(model: nn.Module) -> Iterator[None]:
    """Keep a model in evaluation mode, without gradients and hooks.

    Afterwards model and torch are as they were.
    """
    devices = sorted({each.device.index or 0 for each in model.parameters() if each.is_cuda})
    with ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")  # for example, a checkpoint warns of a pass without gradients
        stack.enter_context(torch.random.fork_rng(devices=devices))
        stack.enter_context(_other_generators())
        stack.enter_context(_eager())
        stack.enter_context(without_global_hooks())
        for module in model.modules():
            if not isinstance(module, torch.jit.ScriptModule):
                stack.callback(_noted(module))
                vars(module).update(quiet_attributes(module), training=False)
            else:
                stack.callback(setattr, module, "training", module.training)
                module.training = False
        yield


@contextmanager
def _other_generators() -> Iterator[None]:
    ours, numpys = random.getstate(), np.random.get_state()  # noqa: NPY002 - the one that models draw from
    try:
        yield
    finally:
        random.setstate(ours)
        np.random.set_state(numpys)  # noqa: NPY002


@contextmanager
def _eager() -> Iterator[None]:
    """Run compiled functions eagerly, and encoders without the fused path that hides their nonlinearity."""
    fused = torch.backends.mha.get_fastpath_enabled()
    with torch.compiler.set_stance("force_eager"):
        torch.backends.mha.set_fastpath_enabled(False)
        try:
            yield
        finally:
            torch.backends.mha.set_fastpath_enabled(fused)


def _noted(module: nn.Module) -> Callable[[], None]:
    """Return a function that restores the module's present attributes, and the entries of their containers."""
    attributes = vars(module)
    before = dict(attributes)
    contents = [(value, value.copy()) for value in before.values() if type(value) in _CONTAINERS]

    def put_back() -> None:
        for name in attributes.keys() - before.keys():
            del attributes[name]
        for name, value in before.items():
            if attributes.get(name, _ABSENT) is not value:
                attributes[name] = value
        for holder, content in contents:
            if not _same(holder, content):
                holder.clear()
                (holder.extend if isinstance(holder, list) else holder.update)(content)

    return put_back


def _same(now: Any, before: Any) -> bool:
    if len(now) != len(before):
        return False
    if isinstance(now, dict):
        pairs = zip(now.items(), before.items(), strict=True)
        return all(key == old_key and value is old for (key, value), (old_key, old) in pairs)
    if isinstance(now, set):
        return bool(now == before)
    return all(value is old for value, old in zip(now, before, strict=True))


class WrittenTensors:
    """Copies of tensors that an operator is about to write to, so that they can be put back.

    Args:
        tensors: The tensors that must not change.
    """

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        self._owners: dict[int, list[Tensor]] = {}
        for tensor in tensors:
            if (place := _memory(tensor)) is not None:
                self._owners.setdefault(place, []).append(tensor)
        self._copies: list[tuple[Tensor, Tensor]] = []
        self._written: dict[Any, tuple[tuple[int, ...], tuple[str, ...]]] = {}

    def keep(self, operator: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> None:
        """Copy the tensors that an operator is about to write to, each before the first write."""
        if operator not in self._written:
            self._written[operator] = written_arguments(operator)
        places, names = self._written[operator]
        written = [args[place] for place in places if place < len(args)]
        for value in [*written, *(kwargs[name] for name in names if name in kwargs)]:
            for tensor in value if isinstance(value, (list, tuple)) else [value]:
                place = _memory(tensor) if isinstance(tensor, Tensor) else None
                for owner in self._owners.pop(place, []) if place is not None else []:
                    self._copies.append((owner, owner.detach().clone()))

    def put_back(self) -> None:
        """Restore the entries of the written tensors.

        No version counter changes, so autograd sees no change.
        """
        for owner, copy in self._copies:
            owner.data.copy_(copy)
        self._copies.clear()


def _memory(tensor: Tensor) -> int | None:
    """Return the address of a tensor's memory; None if it has none, such as a sparse tensor."""
    try:
        return tensor.untyped_storage().data_ptr() or None
    except (RuntimeError, NotImplementedError):
        return None
