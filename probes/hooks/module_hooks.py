"""Forward hooks that belong to one model only: a copy of it, or the model saved whole, does not carry them on."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any


class ModuleHook:
    """A hook of the probe on a module.

    Copying or pickling the module (an average of weights, ``torch.save(model)``) leaves in its place a function of the
    standard library that does nothing: passes of the copy do not count, and a file is read where no probe is installed.
    """

    def __init__(self, call: Callable[..., None]) -> None:
        self._call = call

    def __call__(self, *arguments: Any) -> None:
        """Call the probe."""
        self._call(*arguments)

    def __reduce__(self) -> tuple[Any, ...]:
        return getattr, (nullcontext(), "__exit__")  # takes any arguments and returns None
