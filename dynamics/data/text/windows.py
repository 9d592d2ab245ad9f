"""Windows of a text: the inputs of a network that predicts the next character, and its targets."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from dynamics.data.batches import batch_indices
from dynamics.data.seeding import generator


def windows(text: Tensor, *, context: int, offset: int = 0) -> tuple[Tensor, Tensor]:
    """Return the adjacent windows of a text, and the next character at each position: both ``(n, context)``.

    The windows do not overlap. Characters at the end that do not fill a window are left out.

    Args:
        text: Numbers of characters, ``(characters,)``.
        context: Characters of a window.
        offset: Characters before the first window.
    """
    count = max(0, (len(text) - 1 - offset) // context)
    end = offset + count * context
    return text[offset:end].view(count, context), text[offset + 1 : end + 1].view(count, context)


def window_count(text: Tensor, *, context: int) -> int:
    """Return the smallest number of windows that a text has over all offsets below ``context``."""
    return max(0, len(text) // context - 1)


class TextBatches:
    """The batches of every epoch. Each batch is a pure function of the seed, the epoch and the batch's number.

    An epoch goes once through the text, in adjacent windows. Each epoch has a new random order of the windows and a new
    random offset of the first, so that a character's position in its window changes. Windows that do not fill a last
    batch are left out of that epoch.

    Args:
        text: The training text, ``(characters,)``, on the device of the batches.
        context: Characters of a window.
        batch_size: Windows in a batch.
        seed: Seed of order and offset.

    Raises:
        ValueError: The text has fewer windows than one batch.
    """

    def __init__(self, text: Tensor, *, context: int, batch_size: int, seed: int = 0) -> None:
        self._count = window_count(text, context=context)
        if not 0 < batch_size <= self._count:
            raise ValueError(
                f"batch size {batch_size}: expected 1 to {self._count}, the number of windows of {context} characters "
                f"in the training text of {len(text):,}."
            )
        self.batch_size, self.seed = batch_size, seed
        self._text, self._context = text, context

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        return self._count // self.batch_size

    def epoch(self, epoch: int, *, start: int = 0, rank: int = 0, ranks: int = 1) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield windows and the next character at each of their positions, both int64, ``(batch, context)``.

        Args:
            epoch: Number of the epoch, from 0.
            start: Number of batches to skip, for a resumed run.
            rank: Number of this process, from 0; it fixes the share of each batch to yield.
            ranks: Number of processes. Their shares together are the batch of a single process.
        """
        drawn = torch.randint(self._context, (1,), generator=generator(self.seed, "offset", epoch))
        inputs, targets = windows(self._text, context=self._context, offset=int(drawn))
        for index in batch_indices(
            self._count,
            batch_size=self.batch_size,
            seed=self.seed,
            epoch=epoch,
            start=start,
            rank=rank,
            ranks=ranks,
            device=self._text.device,
        ):
            yield inputs[index], targets[index]
