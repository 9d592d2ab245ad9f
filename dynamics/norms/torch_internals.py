"""Every private name of torch that ``dynamics`` uses, each once, with its fallback.

"Without it" describes the behaviour under a torch that does not have the private name.
``tests/dynamics/norms/test_torch_internals.py`` compares the list with the installed torch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

try:
    from torch.nn.modules.batchnorm import _BatchNorm as BatchNorm
except ImportError:  # torch renamed it
    BatchNorm = nn.BatchNorm2d.__base__  # type: ignore[assignment, misc]
"""The base class of all batch norms. Without it: the class that ``nn.BatchNorm2d`` derives from."""

FORWARD_METHODS = ("forward", "_conv_forward")
"""The methods that compute a layer's output; a subclass that overrides one may compute something else. Without
``_conv_forward``, a method of convolutions: a subclass is recognised by its ``forward`` alone."""

COMPILER = "torch._dynamo"
"""The module that torch's first optimizer imports. Without it: worker processes start without it preloaded."""


def in_backward() -> bool:
    """Return whether autograd runs a backward in this thread.

    True inside a layer's forward means the second forward of activation checkpointing. Under a compiler the result is
    False, because a compiler may repeat any forward.

    Without it: False. A layer under activation checkpointing then makes another power iteration in the backward, torch
    raises because the tensors differ, and running means move twice a step.
    """
    if torch.compiler.is_compiling():
        return False
    current = getattr(torch._C, "_current_graph_task_id", None)
    return current is not None and current() != -1


def saved_tensors_are_hooked() -> bool:
    """Return whether hooks pack the tensors that autograd saves, as activation checkpointing does.

    Without it: False. The consequences are those that :func:`in_backward` describes.
    """
    hooks = getattr(torch._C._autograd, "_top_saved_tensors_default_hooks", None)
    return hooks is not None and hooks(False) is not None


def within_transform() -> bool:
    """Return whether a transform of ``torch.func`` (grad, vmap, jvp, ...) is running.

    Without it: False. Norms then raise under ``torch.func``, because their autograd functions do not support it.
    """
    if torch.compiler.is_compiling():
        return False
    active = getattr(torch._C, "_are_functorch_transforms_active", None)
    return active is not None and bool(active())


def is_batched(tensor: Tensor) -> bool:
    """Return whether a tensor represents a batch of tensors, as in a backward with ``is_grads_batched``.

    Without it: False. Such a backward of a spectral norm then raises.
    """
    if torch.compiler.is_compiling():
        return False
    functorch = getattr(torch._C, "_functorch", None)
    questions = ("is_batchedtensor", "is_legacy_batchedtensor")
    return any(getattr(functorch, question, _no)(tensor) for question in questions)


def _no(_tensor: Tensor) -> bool:
    return False


def forward_pre_hooks(module: nn.Module) -> list[Callable[..., Any]]:
    """Return the hooks that run before a module's forward.

    Without it: no hooks. ``precompute_before_forward``, called twice, then makes two power iterations a step.
    """
    return list(getattr(module, "_forward_pre_hooks", {}).values())


def has_forward_hooks(module: nn.Module) -> bool:
    """Return whether a module's forward has hooks. Without it: False, and ``fold`` treats the layer as plain."""
    return bool(getattr(module, "_forward_pre_hooks", {}) or getattr(module, "_forward_hooks", {}))


def remove_hooks(module: nn.Module, ours: Callable[[Any], bool]) -> None:
    """Remove the hooks of ``dynamics`` from a module's forward and ``load_state_dict``. Without it: they stay."""
    forward = getattr(module, "_forward_pre_hooks", {}), getattr(module, "_forward_hooks", {})
    for hooks in (*forward, getattr(module, "_load_state_dict_pre_hooks", {})):
        for key in [key for key, hook in hooks.items() if ours(getattr(hook, "hook", hook))]:
            del hooks[key]


def l2_norms(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Return the Euclidean length of each tensor. Without it: one call for each tensor."""
    together = getattr(torch, "_foreach_norm", None)
    return list(together(tensors)) if together else [torch.linalg.vector_norm(t) for t in tensors]


def multiply(tensors: Sequence[Tensor], others: Sequence[Tensor] | float) -> list[Tensor]:
    """Return each tensor times its partner in ``others``, or times one number. Without it: one call for each tensor."""
    together = getattr(torch, "_foreach_mul", None)
    return list(together(tensors, others)) if together else [t * o for t, o in _pairs(tensors, others)]


def divide(tensors: Sequence[Tensor], divisors: Sequence[Tensor]) -> list[Tensor]:
    """Return each tensor divided by its divisor. Without it: one call for each tensor."""
    together = getattr(torch, "_foreach_div", None)
    return list(together(tensors, divisors)) if together else [t / d for t, d in _pairs(tensors, divisors)]


def divide_(tensors: Sequence[Tensor], divisors: Sequence[Tensor]) -> None:
    """Divide each tensor by its divisor, in place. Without it: one call for each tensor."""
    if together := getattr(torch, "_foreach_div_", None):
        together(tensors, divisors)
    else:
        for tensor, divisor in _pairs(tensors, divisors):
            tensor.div_(divisor)


def clamp_min(tensors: Sequence[Tensor], least: float) -> list[Tensor]:
    """Return each tensor with elements below ``least`` raised to ``least``. Without it: one call for each tensor."""
    together = getattr(torch, "_foreach_clamp_min", None)
    return list(together(tensors, least)) if together else [t.clamp_min(least) for t in tensors]


def subtract_products(tensors: Sequence[Tensor], ones: Sequence[Tensor], others: Sequence[Tensor]) -> list[Tensor]:
    """Return each ``tensor - one * other``. Without it: one call for each tensor."""
    if together := getattr(torch, "_foreach_addcmul", None):
        return list(together(tensors, ones, others, -1))
    return [t.addcmul(a, b, value=-1) for t, a, b in zip(tensors, ones, others, strict=True)]


def copy_(targets: Sequence[Tensor], sources: Sequence[Tensor]) -> None:
    """Copy each source into its target. Without it: one call for each tensor."""
    if together := getattr(torch, "_foreach_copy_", None):
        together(targets, sources)
    else:
        for target, source in _pairs(targets, sources):
            target.copy_(source)


def _pairs(tensors: Sequence[Tensor], others: Sequence[Tensor] | float) -> list[tuple[Tensor, Any]]:
    many = [others] * len(tensors) if isinstance(others, (int, float)) else others
    return list(zip(tensors, many, strict=True))
