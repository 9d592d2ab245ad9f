"""Train a small transformer at too high a learning rate, without and with QK-norm, on the characters of the docs.

    python figures/transformers/train.py runs/transformers        # two runs, minutes on one core
    python figures/causes/committed_store.py runs/transformers --store figures/transformers/store
    python figures/redraw.py transformers

The network has four blocks of width 32 with four heads. Adam has the rate 0.06 from the first step on, without warm-up
and clipping. The only difference of ``qk-norm`` is that it divides queries and keys by their root mean square.
"""

import argparse
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from probes import Probe

TEXT = Path(__file__).parents[2] / "docs"
WIDTH, HEADS, BLOCKS, LENGTH, BATCH = 32, 4, 4, 32, 16
STEPS, EVERY = 1000, 20


class Attention(nn.Module):
    """Causal attention, with or without norms of queries and keys."""

    def __init__(self, *, qk_norm: bool) -> None:
        super().__init__()
        self.qkv, self.proj = nn.Linear(WIDTH, 3 * WIDTH, bias=False), nn.Linear(WIDTH, WIDTH, bias=False)
        size = WIDTH // HEADS
        self.q_norm, self.k_norm = (nn.RMSNorm(size) if qk_norm else nn.Identity() for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        """Return the output of attention; input and output are ``(batch, position, feature)``."""
        q, k, v = (y.unflatten(-1, (HEADS, -1)).transpose(1, 2) for y in self.qkv(x).chunk(3, dim=-1))
        y = F.scaled_dot_product_attention(self.q_norm(q), self.k_norm(k), v, is_causal=True)
        return self.proj(y.transpose(1, 2).flatten(2))


class Block(nn.Module):
    """Attention, then two layers. Each part has a norm before it and is added to the residual stream."""

    def __init__(self, *, qk_norm: bool) -> None:
        super().__init__()
        self.norm_1, self.attn = nn.LayerNorm(WIDTH), Attention(qk_norm=qk_norm)
        self.norm_2 = nn.LayerNorm(WIDTH)
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        """Return the residual stream with both parts added."""
        x = x + self.attn(self.norm_1(x))
        return x + self.mlp(self.norm_2(x))


class Transformer(nn.Module):
    """A character model."""

    def __init__(self, characters: int, *, qk_norm: bool) -> None:
        super().__init__()
        self.token, self.position = nn.Embedding(characters, WIDTH), nn.Embedding(LENGTH, WIDTH)
        self.blocks = nn.ModuleList(Block(qk_norm=qk_norm) for _ in range(BLOCKS))
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, characters, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits of the next character, ``(batch, position, character)``."""
        x = self.token(x) + self.position.weight
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


def characters() -> tuple[Tensor, int]:
    """Return the pages of ``docs`` as numbers of their characters, and the number of different characters."""
    text = "".join(page.read_text(encoding="utf-8") for page in sorted(TEXT.glob("*.md")))
    places = {character: place for place, character in enumerate(sorted(set(text)))}
    return torch.tensor([places[character] for character in text]), len(places)


def train(store: Path, run: str, *, qk_norm: bool, rate: float, steps: int) -> None:
    """Train one model under a probe."""
    torch.manual_seed(0)
    text, count = characters()
    model = Transformer(count, qk_norm=qk_norm)
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    config = {"model": "transformer", "data": "docs", "norm": "QK-norm" if qk_norm else "none", "lr": rate, "seed": 0}
    every = {"transformers": EVERY, "activation_moments": EVERY, "updates": EVERY, "optimizer": 10 * EVERY}
    generator = torch.Generator().manual_seed(1)
    with Probe(model, optimizer, store=store, run=run, every=every, metrics=list(every), config=config) as probe:
        for _ in range(steps):
            starts = torch.randint(len(text) - LENGTH - 1, (BATCH,), generator=generator)
            window = text[starts[:, None] + torch.arange(LENGTH + 1)]
            loss = F.cross_entropy(model(window[:, :-1]).flatten(0, 1), window[:, 1:].flatten())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            probe.log(loss=loss)


def main() -> None:
    """Train both models."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path)
    parser.add_argument("--lr", type=float, default=0.06)
    parser.add_argument("--steps", type=int, default=STEPS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for run, qk_norm in (("plain", False), ("qk-norm", True)):
        train(arguments.store, run, qk_norm=qk_norm, rate=arguments.lr, steps=arguments.steps)


if __name__ == "__main__":
    main()
