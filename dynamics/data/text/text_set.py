"""A text as two tensors of character numbers: a training part and a held-out part."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

CONTEXT = 64  # characters, if a configuration sets no other number
HELD_OUT = 0.1  # share of the text at its end


@dataclass(frozen=True)
class TextSet:
    """Training and test text, with the characters of both.

    Attributes:
        name: The name that loaded it.
        alphabet: The different characters, in the order of their numbers.
        train: Numbers of the training characters, int64, ``(n,)``.
        test: Numbers of the held-out characters after the training text, int64, ``(n,)``.
        context: Characters that a network reads at once.
    """

    name: str
    alphabet: str
    train: Tensor
    test: Tensor
    context: int = CONTEXT

    @property
    def num_classes(self) -> int:
        """Number of different characters."""
        return len(self.alphabet)

    def to(self, device: torch.device | str) -> Self:
        """Return the same text on a device."""
        return type(self)(self.name, self.alphabet, self.train.to(device), self.test.to(device), self.context)


def text_set(text: str, *, name: str) -> TextSet:
    """Return a text, its last tenth held out.

    Characters are numbered in the order of their code points, including those that only the held-out part has.

    Raises:
        ValueError: The text is empty, or repeats one character.
    """
    alphabet = "".join(sorted(set(text)))
    if len(alphabet) < 2:
        found = f"only {alphabet!r}" if alphabet else "no characters"
        raise ValueError(f"data set {name!r}: the text has {found}; expected two different characters or more.")
    numbers = {character: number for number, character in enumerate(alphabet)}
    whole = torch.tensor([numbers[character] for character in text])  # (characters,)
    held_out = max(1, int(len(whole) * HELD_OUT))
    return TextSet(name, alphabet, whole[:-held_out], whole[-held_out:])
