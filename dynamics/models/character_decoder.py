"""A small decoder of characters: a transformer that predicts the next character of a text."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class CharacterDecoder(nn.Module):
    """A decoder with learned positions, pre-norm blocks and a linear readout.

    A block has causal attention and a GELU layer of four times the width. The norms are layer norms.
    ``convert(model, "msn", exchange=("layer",))`` exchanges them for MSN, as in any transformer; ``"sn"`` for SN. At
    the default size, for 65 characters, the network has 0.82 million parameters.

    Args:
        characters: Number of different characters.
        width: Channels of the residual stream, a multiple of ``heads``.
        blocks: Number of blocks.
        heads: Attention heads of a block.
        context: Largest number of characters in an input.

    Raises:
        ValueError: ``width`` is no multiple of ``heads``.

    Source: Radford et al. 2019, "Language models are unsupervised multitask learners", for the order of norms.
    """

    def __init__(
        self, characters: int = 65, *, width: int = 128, blocks: int = 4, heads: int = 4, context: int = 64
    ) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width: expected a multiple of the {heads} heads, got {width}")
        self.context = context
        self.characters = nn.Embedding(characters, width)
        self.positions = nn.Embedding(context, width)
        self.blocks = nn.Sequential(*(_Block(width, heads) for _ in range(blocks)))
        self.norm = nn.LayerNorm(width)
        self.readout = nn.Linear(width, characters)

    def forward(self, text: Tensor) -> Tensor:
        """Return the logits of the next character at each position, ``(N, T, characters)``.

        Args:
            text: Numbers of characters, ``(N, T)``, T at most ``context``.

        Raises:
            ValueError: The text is longer than ``context``.
        """
        if text.shape[1] > self.context:
            raise ValueError(f"expected at most {self.context} characters, got {text.shape[1]}: make context larger")
        places = torch.arange(text.shape[1], device=text.device)
        return self.readout(self.norm(self.blocks(self.characters(text) + self.positions(places))))

    def example_input(self) -> Tensor:
        """Return one text of the first character."""
        return torch.zeros(1, self.context, dtype=torch.int64)


class _Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        # Modules are defined in the order of the forward, which is the order of the layers in a store.
        self.norm1 = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.norm2 = nn.LayerNorm(width)
        self.wide, self.activation, self.narrow = nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)

    def forward(self, h: Tensor) -> Tensor:
        """Return the residual stream after the block, ``(N, T, width)``."""
        later = torch.ones(h.shape[1], h.shape[1], dtype=torch.bool, device=h.device).triu(1)
        read = self.norm1(h)
        h = h + self.attention(read, read, read, attn_mask=later, need_weights=False)[0]
        return h + self.narrow(self.activation(self.wide(self.norm2(h))))
