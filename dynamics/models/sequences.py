"""The networks of sequences, each with any norm of sequences."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from dynamics.models.character_decoder import CharacterDecoder
from dynamics.norms.sequence_norms import normalise_sequence_model

SEQUENCE_MODELS: dict[str, type[Any]] = {"transformer": CharacterDecoder}  # each also has example_input()


def build_sequence_model(model: str, norm: str, *, characters: int, **sizes: int) -> nn.Module:
    """Return a freshly initialised network of sequences, normalised as asked.

    At one state of torch's generator all norms start from the same weights.

    Args:
        model: One of ``SEQUENCE_MODELS``.
        norm: One of :data:`~dynamics.norms.sequence_norms.SEQUENCE_NORMS`.
        characters: Different characters of the text.
        **sizes: Those of the network, such as ``width``.

    Raises:
        ValueError: No such model, norm or size; the message lists those there are.
    """
    if model not in SEQUENCE_MODELS:
        raise ValueError(f"no model {model!r} of sequences: expected one of {', '.join(SEQUENCE_MODELS)}")
    network = SEQUENCE_MODELS[model](characters, **sizes)
    with torch.random.fork_rng(devices=[]):  # the vectors of power iterations
        return normalise_sequence_model(network, norm)
