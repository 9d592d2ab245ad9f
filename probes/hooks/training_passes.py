"""Notices the beginning of training passes, of the model itself or of a part that the loop calls directly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from probes.hooks.compiled import GraphTap
from probes.hooks.module_hooks import ModuleHook
from probes.hooks.seen_tensor import first_tensor
from probes.hooks.torch_internals import is_exporting


class TrainingPasses:
    """Hooks on the model and on its children, because a loop may never call the whole model (variational autoencoders).

    Attributes:
        passed: Whether a pass in training mode has begun since the last step; set it to False at a step.
    """

    def __init__(self, root: nn.Module, begins: Callable[[], None]) -> None:
        """Attach the hooks.

        Args:
            root: The model, whose mode says whether a pass is a training pass.
            begins: Called when a pass begins.
        """
        self.passed = False
        self._root, self._begins = root, begins
        self._called: set[int] = set()  # parts called in the current pass
        device = next((parameter.device for parameter in root.parameters()), torch.device("cpu"))
        self._tap = GraphTap(lambda *_: self.note(root), device)
        self._handles: list[RemovableHandle] = []
        for part in entries(root):
            hook = self._on_the_model if part is root else self._on_a_part
            self._handles.append(ModuleHook(hook).attach(part.register_forward_pre_hook, with_kwargs=True))

    def note(self, part: nn.Module | None = None) -> None:
        """Note that a part of the model is called: the model itself, or a part called before, begins a pass."""
        if not self._root.training:
            return
        self.passed = True
        if part is self._root or id(part) in self._called:
            self._called.clear()
        if not self._called:
            self._begins()
        self._called.add(id(part))

    def remove(self) -> None:
        """Remove the hooks."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def _on_the_model(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        if not torch.compiler.is_dynamo_compiling():
            self.note(module)
        elif not is_exporting() and (tensor := first_tensor((args, kwargs))) is not None:
            self._tap(tensor, tensor)

    def _on_a_part(self, module: nn.Module, _args: Any, _kwargs: Any) -> None:
        if not torch.compiler.is_dynamo_compiling():
            self.note(module)


def entries(root: nn.Module) -> list[nn.Module]:
    """Return the modules whose call begins a pass: the model, and the modules that a loop may call instead of it.

    These are the model's children. A list or dict of modules has no forward, so its members are returned instead.
    """
    found, waiting = {id(root): root}, list(root.children())
    while waiting:
        part = waiting.pop()
        if isinstance(part, (nn.ModuleList, nn.ModuleDict)):
            waiting += part.children()
        elif not isinstance(part, torch.jit.ScriptModule):  # script modules take no hook
            found.setdefault(id(part), part)
    return list(found.values())
