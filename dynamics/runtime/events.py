"""Events of a run: messages of plain numbers and strings that can be sent between processes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

REFRESH_SECONDS = 0.2  # not at every step, because reading a loss waits for the device


@dataclass(frozen=True)
class Began:
    """A run starts or is resumed.

    Attributes:
        run: Id of the run.
        epochs: Epochs of the whole run; 0 for a run that counts only steps.
        steps: Optimizer steps of the whole run; for a GAN those of the generator.
        start: Steps already taken.
    """

    run: str
    epochs: int
    steps: int
    start: int


@dataclass(frozen=True)
class Stepped:
    """Progress of a run; sent a few times a second.

    Attributes:
        run: Id of the run.
        steps: Steps taken.
        epoch: Epoch of the last step, from 0; None for a run that counts only steps.
        loss: Training loss at the last step; None for a run without one loss.
    """

    run: str
    steps: int
    epoch: int | None = None
    loss: float | None = None


@dataclass(frozen=True)
class Scored:
    """Scores of a model between two steps: after an epoch, or after every ``score_every`` steps of a GAN.

    Attributes:
        run: Id of the run.
        steps: Steps taken.
        scores: The scores by name. A score whose name ends in ``accuracy`` is a share, 0 to 1.
        epoch: The finished epoch, from 0; None for a run that counts only steps.
    """

    run: str
    steps: int
    scores: Mapping[str, float]
    epoch: int | None = None


@dataclass(frozen=True)
class Noted:
    """A remark on a run.

    Attributes:
        run: Id of the run.
        text: The remark, one line.
    """

    run: str
    text: str


@dataclass(frozen=True)
class Ended:
    """A run has ended.

    Attributes:
        run: Id of the run.
        steps: Steps taken in all.
        seconds: Wall-clock time since the run started or was resumed.
        diverged: The loss was not finite at the end of an epoch, so the run was ended there.
    """

    run: str
    steps: int
    seconds: float
    diverged: bool


@dataclass(frozen=True)
class Failed:
    """A run has stopped before its end.

    Attributes:
        run: Id of the run.
        reason: The reason, one line.
    """

    run: str
    reason: str


Event = Began | Stepped | Scored | Noted | Ended | Failed
Watch = Callable[[Event], None]


def unwatched(event: Event) -> None:
    """Ignore the events of a run."""
    del event


class Refresh:
    """A timer of :class:`Stepped` events: the next is due ``REFRESH_SECONDS`` after the last."""

    def __init__(self) -> None:
        self._last = float("-inf")

    def due(self) -> bool:
        """Return whether the next event is due. If so, it counts as sent now."""
        now = time.monotonic()
        if now - self._last <= REFRESH_SECONDS:
            return False
        self._last = now
        return True
