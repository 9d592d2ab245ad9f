"""Events of a run, as messages of plain numbers and words that can be sent between processes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

REFRESH_SECONDS = 0.2  # reading a loss waits for the device: not at every step


@dataclass(frozen=True)
class Began:
    """A run begins, or goes on.

    Attributes:
        run: Its id.
        epochs: Epochs in all; 0 for a run that counts steps alone.
        steps: Steps in all: optimizer steps, of a GAN the generator's.
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
        run: Its id.
        steps: Steps taken.
        epoch: Epoch of the last step, from 0; None for a run that counts steps alone.
        loss: Training loss at the last step; None for a run without one loss.
    """

    run: str
    steps: int
    epoch: int | None = None
    loss: float | None = None


@dataclass(frozen=True)
class Scored:
    """Scores of a model between two steps: after an epoch, or at a milestone of a GAN.

    Attributes:
        run: Its id.
        steps: Steps taken.
        scores: The scores by name; a name that ends in ``accuracy`` is a share, 0 to 1.
        epoch: The epoch that is over, from 0; None for a run that counts steps alone.
    """

    run: str
    steps: int
    scores: Mapping[str, float]
    epoch: int | None = None


@dataclass(frozen=True)
class Noted:
    """A remark of a run.

    Attributes:
        run: Its id.
        text: The remark, in a line.
    """

    run: str
    text: str


@dataclass(frozen=True)
class Ended:
    """A run has come to its end.

    Attributes:
        run: Its id.
        steps: Steps taken in all.
        seconds: Wall-clock time since the run began or went on.
        diverged: The loss was no finite number at the end of an epoch; the run was ended there.
    """

    run: str
    steps: int
    seconds: float
    diverged: bool


@dataclass(frozen=True)
class Failed:
    """A run has stopped before its end.

    Attributes:
        run: Its id.
        reason: Why, in a line.
    """

    run: str
    reason: str


Event = Began | Stepped | Scored | Noted | Ended | Failed
Watch = Callable[[Event], None]


def unwatched(event: Event) -> None:
    """Ignore the events of a run."""
    del event


class Refresh:
    """Says whether the next :class:`Stepped` is due: the last one is a fifth of a second ago."""

    def __init__(self) -> None:
        self._last = float("-inf")

    def due(self) -> bool:
        """Return whether it is due; if so, it counts as sent."""
        now = time.monotonic()
        if now - self._last <= REFRESH_SECONDS:
            return False
        self._last = now
        return True
