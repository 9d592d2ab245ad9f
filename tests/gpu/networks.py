"""The trainings that are timed on a GPU: a network, a batch, and the precision it is trained in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from resnet18 import ResNet18
from torch import Tensor, nn
from torch.nn import functional as F

Batch = tuple[Tensor, Tensor]
WORDS = 50257


@dataclass(frozen=True)
class Training:
    """One kind of training.

    Attributes:
        about: What it is, in a line.
        network: Returns the network.
        batches: Yields batches on a device, again and again.
        bfloat16: Whether it is trained under autocast.
        channels_last: Whether the network and its images lie so in memory.
    """

    about: str
    network: Callable[[], nn.Module]
    batches: Callable[[torch.device], Iterator[Batch]]
    bfloat16: bool = False
    channels_last: bool = False

    def precision(self, device: torch.device) -> AbstractContextManager[None]:
        """Return the context of the forward pass."""
        return torch.autocast(device.type, torch.bfloat16, enabled=self.bfloat16)

    def build(self, device: torch.device) -> nn.Module:
        """Return a network on a device, the same each time."""
        torch.manual_seed(0)
        network = self.network().to(device)
        return network.to(memory_format=torch.channels_last) if self.channels_last else network


def images(batch: int, size: int, *, channels_last: bool = False) -> Callable[[torch.device], Iterator[Batch]]:
    """Return what yields two batches of images in turn."""
    layout = torch.channels_last if channels_last else torch.contiguous_format

    def batches(device: torch.device) -> Iterator[Batch]:
        made = [torch.randn(batch, 3, size, size, device=device).contiguous(memory_format=layout) for _ in range(2)]
        labels = torch.randint(1000, (batch,), device=device)
        while True:
            yield from ((each, labels) for each in made)

    return batches


def tokens(batch: int, length: int, words: int) -> Callable[[torch.device], Iterator[Batch]]:
    """Return what yields two batches of tokens in turn, each with the next token as its target."""

    def batches(device: torch.device) -> Iterator[Batch]:
        made = [torch.randint(words, (batch, length + 1), device=device) for _ in range(2)]
        while True:
            yield from ((each[:, :-1], each[:, 1:]) for each in made)

    return batches


def resnet50() -> nn.Module:
    """Return torchvision's ResNet-50."""
    from torchvision.models import resnet50 as build

    return build()


class Gpt(nn.Module):
    """A decoder of the shape of GPT-2, 124 million parameters unless told otherwise. Source: Radford et al. 2019."""

    def __init__(
        self, *, width: int = 768, depth: int = 12, heads: int = 12, words: int = 50257, most: int = 1024
    ) -> None:
        super().__init__()
        self.token, self.position = nn.Embedding(words, width), nn.Embedding(most, width)
        self.blocks = nn.ModuleList([GptBlock(width, heads) for _ in range(depth)])
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, words, bias=False)
        self.head.weight = self.token.weight

    def forward(self, x: Tensor) -> Tensor:
        """Return the scores of the next token, ``(batch, words, length)``."""
        x = self.token(x) + self.position(torch.arange(x.shape[1], device=x.device))
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x)).mT


class GptBlock(nn.Module):
    """Causal attention and a feed-forward part, each behind a norm and beside a shortcut."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self._heads = heads

    def forward(self, x: Tensor) -> Tensor:
        """Return the residual stream behind the block."""
        batch, length, width = x.shape
        parts = self.qkv(self.norm1(x)).view(batch, length, 3, self._heads, -1).transpose(1, 3).unbind(2)
        mixed = F.scaled_dot_product_attention(*parts, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).reshape(batch, length, width))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


TRAININGS = {
    "resnet18_224": Training("ResNet-18, 128 images of 224 x 224, float32", ResNet18, images(128, 224)),
    "resnet18_32": Training("ResNet-18, 128 images of 32 x 32, float32", ResNet18, images(128, 32)),
    "resnet50_bf16": Training(
        "ResNet-50, 64 images of 224 x 224, channels last, bfloat16",
        resnet50,
        images(64, 224, channels_last=True),
        bfloat16=True,
        channels_last=True,
    ),
    "gpt2_bf16": Training(
        "GPT-2 of 124 million parameters, 8 x 512 tokens, bfloat16", Gpt, tokens(8, 512, WORDS), bfloat16=True
    ),
}
TINY = {
    "resnet18_32": Training("ResNet-18, tiny", lambda: ResNet18(width=4), images(4, 32)),
    "gpt2_bf16": Training(
        "a tiny GPT-2, bfloat16",
        lambda: Gpt(width=16, depth=1, heads=2, words=50, most=8),
        tokens(2, 8, 50),
        bfloat16=True,
    ),
}
