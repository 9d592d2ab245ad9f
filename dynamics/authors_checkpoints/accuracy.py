"""Accuracy of the authors' checkpoints on MNIST's test digits, beside the accuracy in the files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from dynamics.authors_checkpoints.checkpoint import load_checkpoint
from dynamics.classifier.dataset import RELEASED_STATISTICS
from dynamics.classifier.evaluation import evaluate
from dynamics.data.batches import in_order
from dynamics.data.images import Images

BATCH = 500  # changes memory use, but no result


@dataclass(frozen=True)
class Verdict:
    """One file, evaluated.

    Attributes:
        file: Name of the file.
        norm: ``none``, ``bn``, ``sn`` or ``msn``.
        activation: ``relu`` or ``leaky_relu``.
        epoch: The last epoch before the file was stored, counted from 0.
        stored: Accuracy that the file states, 0 to 1.
        found: Measured accuracy on the images, 0 to 1.
        images: Number of images.
    """

    file: str
    norm: str
    activation: str
    epoch: int
    stored: float
    found: float
    images: int

    @property
    def difference(self) -> int:
        """Number of images classified right, minus the number that the file states."""
        return round((self.found - self.stored) * self.images)


def verdicts(paths: Sequence[str | PathLike[str]], digits: Images) -> Iterator[Verdict]:
    """Yield the accuracy of each checkpoint.

    Args:
        paths: The authors' files of MNIST networks.
        digits: MNIST's test images; the scripts' mean and deviation are applied here.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: A file is none of the authors' MNIST checkpoints.
    """
    mean, std = RELEASED_STATISTICS["mnist"]
    for path in paths:
        saved = load_checkpoint(path)
        score = evaluate(saved.model, in_order(digits, mean=mean, std=std, batch_size=BATCH))
        yield Verdict(
            Path(path).name, saved.norm, saved.activation, saved.epoch, saved.accuracy, score.accuracy, len(digits)
        )
