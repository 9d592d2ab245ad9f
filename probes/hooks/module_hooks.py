"""Forward hooks that belong to one model only: neither a copy of the model nor a saved whole model keeps them."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from contextlib import nullcontext
from typing import Any

from torch.utils.hooks import RemovableHandle


class ModuleHook:
    """A hook of the probe on a module.

    A deep copy of the module (an average of weights, MAML) has no hook. A pickled module (``torch.save(model)``) has in
    the hook's place a function of the standard library that does nothing. The module can be loaded where meandrift is
    not installed.
    """

    def __init__(self, call: Callable[..., None]) -> None:
        self._call = call
        self._handle: RemovableHandle | None = None

    def attach(self, register: Callable[..., RemovableHandle], **how: Any) -> RemovableHandle:
        """Attach by a module's ``register_forward_hook`` or ``register_forward_pre_hook``, with its keywords."""
        self._handle = register(self, **how)
        return self._handle

    def __call__(self, *arguments: Any) -> None:
        """Call the probe."""
        self._call(*arguments)

    def __reduce__(self) -> tuple[Any, ...]:
        return getattr, (nullcontext(), "__exit__")  # takes any arguments and returns None

    def __deepcopy__(self, memo: dict[int, Any]) -> Callable[..., None]:
        """Return a hook that does nothing, and remove it from the copied module when the copy is complete."""
        hooks = None if self._handle is None else self._handle.hooks_dict_ref()
        copied = memo.get(id(hooks))
        if self._handle is not None and copied is not None:
            # The memo, and its list of objects to keep alive, is freed when copying ends.
            memo.setdefault(id(memo), []).append(_Removal(copied, self._handle.id))
        return nullcontext().__exit__


class _Removal:
    """Removes a hook from a dict of hooks when this object is freed."""

    def __init__(self, hooks: MutableMapping[int, Any], number: int) -> None:
        self._hooks, self._number = hooks, number

    def __del__(self) -> None:
        self._hooks.pop(self._number, None)
