"""The off switch: a probe that does nothing, by ``Probe(..., enabled=False)`` or ``MEANDRIFT=off``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Self

VARIABLE = "MEANDRIFT"
_WORDS = {"off": False, "0": False, "false": False, "no": False, "on": True, "1": True, "true": True, "yes": True}


def is_on() -> bool:
    """Return whether the environment lets probes record: True unless ``MEANDRIFT`` is ``off``.

    Raises:
        ValueError: ``MEANDRIFT`` is another word than on or off.
    """
    word = os.environ.get(VARIABLE, "").strip().lower() or "on"
    if word not in _WORDS:
        raise ValueError(f"{VARIABLE}={os.environ[VARIABLE]!r} in the environment: expected on or off.")
    return _WORDS[word]


class SwitchedOff:
    """The methods of a probe, without any effect: no hook, no thread, no file, and no check of arguments.

    The attributes that loops read from a probe exist: ``run`` as it was passed (empty without one), ``epoch`` as it was
    set, and an empty state for checkpoints.
    """

    run = ""
    epoch: int | None = None
    bytes_per_1000_steps: int | None = 0

    def __init__(self, *_: Any, run: str | None = None, **__: Any) -> None:
        self.run = run or ""

    def log(self, **_: Any) -> None:
        """Record nothing."""

    def step(self) -> None:
        """Observe nothing."""

    def capture(self) -> None:
        """Read nothing."""

    def flush(self) -> None:
        """Do nothing."""

    def state_dict(self) -> dict[str, Any]:
        """Return an empty state."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Accept any state, also the state of a probe that was on."""

    def attach(self, *, step: int | None = None) -> None:
        """Attach no hooks."""

    def detach(self) -> None:
        """Do nothing."""

    def close(self, status: str = "finished") -> None:
        """Do nothing."""

    def __exit__(self, *_: object) -> None:
        """Leave the block."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class Switchable:
    """Base of a class that can be switched off.

    Its instances then do nothing, and ``isinstance`` stays true.
    """

    def __new__(cls, *_: Any, enabled: bool = True, **__: Any) -> Self:
        """Make an instance.

        If it is switched off, its class is the one that does nothing.
        """
        return super().__new__(cls if enabled and is_on() else _idle_class(cls))


def _idle_class(cls: type) -> type:
    return cls if issubclass(cls, SwitchedOff) else type(f"SwitchedOff{cls.__name__}", (SwitchedOff, cls), {})
