"""What a run tells those who watch it. Plain numbers, so that they travel between processes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Began:
    """A run begins, or goes on.

    Attributes:
        run: Its id.
        epochs: Epochs in all; 0 for a run that counts steps alone.
        steps: Optimizer steps in all.
        start: Optimizer steps already taken.
    """

    run: str
    epochs: int
    steps: int
    start: int


@dataclass(frozen=True)
class Stepped:
    """A run has got so far; sent a few times a second.

    Attributes:
        run: Its id.
        steps: Optimizer steps taken.
        epoch: Epoch they have reached, from 0.
        loss: Training loss of the last.
    """

    run: str
    steps: int
    epoch: int
    loss: float


@dataclass(frozen=True)
class Scored:
    """An epoch is over and the model has been tested.

    Attributes:
        run: Its id.
        epoch: The epoch, from 0.
        loss: Mean test loss.
        accuracy: Test accuracy, 0 to 1.
    """

    run: str
    epoch: int
    loss: float
    accuracy: float


@dataclass(frozen=True)
class Noted:
    """A run has something to say that has no form of its own.

    Attributes:
        run: Its id.
        text: What, in a line.
    """

    run: str
    text: str


@dataclass(frozen=True)
class Ended:
    """A run has come to its end.

    Attributes:
        run: Its id.
        steps: Optimizer steps taken in all.
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
    """Watch a run without a word."""
    del event
