"""The networks for sequences, each with any norm for sequences."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from dynamics.models.character_decoder import CharacterDecoder
from dynamics.norms.sequence_norms import normalise_sequence_model

SEQUENCE_MODELS: dict[str, type[Any]] = {"transformer": CharacterDecoder}  # each also has example_input()


def build_sequence_model(model: str, norm: str, *, characters: int, **sizes: int) -> nn.Module:
    """Return a freshly initialised network for sequences with a norm.

    From the same state of torch's generator all norms start with the same weights.

    Args:
        model: One of ``SEQUENCE_MODELS``.
        norm: One of :data:`~dynamics.norms.sequence_norms.SEQUENCE_NORMS`.
        characters: Number of different characters in the text.
        **sizes: Sizes of the network, such as ``width``.

    Raises:
        ValueError: There is no such model, norm or size; the message lists the valid names.
    """
    if model not in SEQUENCE_MODELS:
        raise ValueError(f"no model {model!r} of sequences: expected one of {', '.join(SEQUENCE_MODELS)}")
    network = SEQUENCE_MODELS[model](characters, **sizes)
    with torch.random.fork_rng(devices=[]):  # the random vectors of power iterations do not move the generator
        return normalise_sequence_model(network, norm)
