"""Observes the steps of one optimizer: by torch's hooks, or by a wrapped ``step`` if the optimizer has no hooks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from torch.utils.hooks import RemovableHandle

Before = Callable[[Any, tuple[Any, ...], dict[str, Any]], tuple[tuple[Any, ...], dict[str, Any]] | None]
After = Callable[..., None]


class Handle(Protocol):
    """Detaches a hook or a wrapper."""

    def remove(self) -> None:
        """Detach it."""


def observe_steps(optimizer: Any, before: Before, after: After) -> list[Handle]:
    """Call functions around each step of an optimizer.

    Args:
        optimizer: An optimizer of torch, or anything with a ``step`` method.
        before: Called like torch's step pre-hooks, with the optimizer, the arguments of ``step`` (the optimizer first)
            and its keyword arguments. It may return new arguments.
        after: Called with the same arguments after the step.

    Returns:
        The handles of the attached hooks or wrappers.
    """
    try:
        first: RemovableHandle = optimizer.register_step_pre_hook(before)
        second: RemovableHandle = optimizer.register_step_post_hook(after)
    except AttributeError:  # not torch's Optimizer, or a subclass that has never called super().__init__()
        return [_WrappedMethod(optimizer, before, after)]
    return [first, second]


class _WrappedMethod:
    """``step`` of one optimizer, replaced on the object as torch's learning rate schedulers do."""

    def __init__(self, optimizer: Any, before: Before, after: After) -> None:
        self._optimizer = optimizer
        self._was = vars(optimizer).get("step")
        step = optimizer.step

        def observed(*args: Any, **kwargs: Any) -> Any:
            changed = before(optimizer, (optimizer, *args), kwargs)
            if changed is not None:
                (_, *args), kwargs = changed  # type: ignore[assignment]
            result = step(*args, **kwargs)
            after(optimizer, (optimizer, *args), kwargs)
            return result

        optimizer.step = self._observed = observed

    def remove(self) -> None:
        if vars(self._optimizer).get("step") is not self._observed:
            return  # other code has wrapped it since, and that wrapper would be lost
        if self._was is None:
            del self._optimizer.step
        else:
            self._optimizer.step = self._was
