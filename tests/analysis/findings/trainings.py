"""Tiny trainings under a probe, and ways to spoil them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from probes import Probe

Batch = tuple[Tensor, Tensor]


@dataclass
class Training:
    """A training loop whose parts a fault may change.

    Attributes:
        model: The network.
        batch: Makes inputs and targets of a step.
        objective: The loss from outputs and targets.
        optimizer: Makes the optimizer from parameters.
        steps: Number of optimizer steps.
        every: Steps from one record to the next.
        changes: What happens before the step of that number.
        each: What happens before every step, given its number.
        trained: The parameters that the optimizer gets; None is all with a gradient.
        scheduler: Makes a schedule of the learning rate from the optimizer.
        micro_batches: Backward passes of one step.
        clip: Largest gradient norm, or None.
        autocast: Whether the forward runs in bfloat16.
    """

    model: nn.Module
    batch: Callable[[int], Batch]
    objective: Callable[[Any, Tensor], Tensor] = F.cross_entropy
    optimizer: Callable[..., torch.optim.Optimizer] = lambda p: torch.optim.SGD(p, lr=0.1)
    steps: int = 40
    every: int = 1
    changes: dict[int, Callable[[Training], None]] = field(default_factory=dict)
    each: Callable[[Training, int], None] = lambda *_: None
    trained: Callable[[nn.Module], list[Tensor]] | None = None
    scheduler: Callable[[torch.optim.Optimizer], Any] | None = None
    micro_batches: int = 1
    clip: float | None = None
    autocast: bool = False
    order: tuple[str, ...] = ("zero", "backward", "step")
    scale: float = 1.0

    def run(self, store: Path) -> None:
        """Train under a probe that records every metric."""
        given = self.trained(self.model) if self.trained else [p for p in self.model.parameters() if p.requires_grad]
        self.made = self.optimizer(given)
        schedule = self.scheduler(self.made) if self.scheduler else None
        with Probe(self.model, self.made, store=store, run="r", every=self.every) as probe:
            for step in range(self.steps):
                if step in self.changes:
                    self.changes[step](self)
                self.each(self, step)
                probe.log(loss=self.one_step(step))
                if schedule is not None:
                    schedule.step()

    def one_step(self, step: int) -> float:
        total = 0.0
        if "zero" in self.order[:1]:
            self.made.zero_grad()
        for part in range(self.micro_batches):
            inputs, targets = self.batch(step * self.micro_batches + part)
            with torch.autocast("cpu", torch.bfloat16, enabled=self.autocast):
                loss = self.objective(self.model(inputs), targets) * self.scale / self.micro_batches
            total += loss.item()
            if "backward" in self.order:
                loss.backward()
        if self.clip is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.clip)
        if "zero" in self.order[1:]:
            self.made.zero_grad()
        self.made.step()
        return total


def points(*, size: int = 64, features: int = 8) -> Callable[[int], Batch]:
    """Return batches of points of two classes that a plane divides."""
    plane = torch.linspace(-1, 1, features)

    def batch(step: int) -> Batch:
        x = torch.randn(size, features, generator=torch.Generator().manual_seed(step))
        return x, (x @ plane > 0).long()

    return batch


def regression(*, size: int = 64, features: int = 8) -> Callable[[int], Batch]:
    """Return batches of points and a smooth function of them."""
    classes = points(size=size, features=features)
    direction = torch.linspace(-1, 1, features)

    def batch(step: int) -> Batch:
        x, _ = classes(step)
        return x, torch.sin(x @ direction)[:, None]

    return batch


def pictures(*, size: int = 32, side: int = 8) -> Callable[[int], Batch]:
    """Return batches of pictures whose class is the brighter half."""

    def batch(step: int) -> Batch:
        x = torch.randn(size, 1, side, side, generator=torch.Generator().manual_seed(step))
        return x, (x[..., : side // 2].sum((1, 2, 3)) > x[..., side // 2 :].sum((1, 2, 3))).long()

    return batch


def sentences(*, size: int = 16, length: int = 8, words: int = 12) -> Callable[[int], Batch]:
    """Return batches of words and, for each, the word that always follows it."""

    def batch(step: int) -> Batch:
        x = torch.randint(words, (size, length), generator=torch.Generator().manual_seed(step))
        return x, (x + 1) % words

    return batch


def series(*, size: int = 32, length: int = 10) -> Callable[[int], Batch]:
    """Return batches of series whose class is the sign of their sum."""

    def batch(step: int) -> Batch:
        x = torch.randn(size, length, 4, generator=torch.Generator().manual_seed(step))
        return x, (x.sum((1, 2)) > 0).long()

    return batch


def mlp(
    depth: int = 4, *, width: int = 32, features: int = 8, outputs: int = 2, activation: type[nn.Module] = nn.ReLU
) -> nn.Sequential:
    """Return layers "0", "2", "4", ... with activations between them."""
    sizes = [features, *[width] * (depth - 1), outputs]
    modules = [m for a, b in pairwise(sizes) for m in (nn.Linear(a, b), activation())]
    return nn.Sequential(*modules[:-1])


def cnn(*, norm: bool = True) -> nn.Sequential:
    """Return layers "0" and "3" with batch norms "1" and "4" behind them, and "8" at the end."""

    def behind() -> nn.Module:
        return nn.BatchNorm2d(8) if norm else nn.Identity()

    first = [nn.Conv2d(1, 8, 3, padding=1), behind(), nn.ReLU()]
    second = [nn.Conv2d(8, 8, 3, padding=1), behind(), nn.ReLU()]
    return nn.Sequential(*first, *second, nn.AvgPool2d(2), nn.Flatten(), nn.Linear(128, 2))


class Block(nn.Module):
    """Attention and a feed-forward part, each with layer norm before and a skip connection around."""

    def __init__(self, width: int, *, detached: bool = False) -> None:
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(width), nn.MultiheadAttention(width, 2, batch_first=True)
        self.norm2, self.up, self.down = nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.detached = detached

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm1(x)
        seen = self.attention(h, h, h, need_weights=False)[0]
        x = x + (seen.detach() if self.detached else seen)
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class Transformer(nn.Module):
    """Words in, the next word out."""

    def __init__(self, *, words: int = 12, width: int = 16, blocks: int = 2, detached: int = -1) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, width)
        self.place = nn.Parameter(torch.randn(8, width) * 0.02)
        self.blocks = nn.ModuleList(Block(width, detached=i == detached) for i in range(blocks))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, words)

    def forward(self, x: Tensor) -> Tensor:
        h = self.embedding(x) + self.place
        for block in self.blocks:
            h = block(h)
        return self.head(self.norm(h)).flatten(0, 1)


class Recurrent(nn.Module):
    """A recurrent network over a series, and a classifier of its last state."""

    def __init__(self, kind: Callable[..., nn.Module] = nn.LSTM, *, detached: bool = False, **settings: Any) -> None:
        super().__init__()
        self.rnn, self.head = kind(4, 16, batch_first=True, **settings), nn.Linear(16, 2)
        self.detached = detached

    def forward(self, x: Tensor) -> Tensor:
        last = self.rnn(x)[0][:, -1]
        return self.head(last.detach() if self.detached else last)


class Branches(nn.Module):
    """Two layers side by side behind a stem, of which one may be cut off, and a layer that may be left out."""

    def __init__(self, *, detached: bool = False, spare: bool = False) -> None:
        super().__init__()
        self.stem, self.left, self.right = nn.Linear(8, 32), nn.Linear(32, 32), nn.Linear(32, 32)
        if spare:
            self.spare = nn.Linear(32, 32)
        self.head = nn.Linear(32, 2)
        self.detached = detached

    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(self.stem(x))
        right = self.right(h)
        return self.head(torch.relu(self.left(h) + (right.detach() if self.detached else right)))


def words_loss(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(outputs, targets.flatten())


def adam(rate: float = 1e-3, **settings: Any) -> Callable[..., torch.optim.Optimizer]:
    return lambda parameters: torch.optim.Adam(parameters, lr=rate, **settings)


def sgd(rate: float = 0.1, **settings: Any) -> Callable[..., torch.optim.Optimizer]:
    return lambda parameters: torch.optim.SGD(parameters, lr=rate, **settings)


def warm_up_and_cosine(steps: int) -> Callable[[torch.optim.Optimizer], Any]:
    """Return a schedule from 0 over a tenth of the steps, and down to 0 again."""

    def share(step: int) -> float:
        rise = min(1.0, 10 * step / steps)
        return rise * 0.5 * (1 + math.cos(math.pi * min(1.0, step / steps)))

    return lambda optimizer: torch.optim.lr_scheduler.LambdaLR(optimizer, share)


def plain(**settings: Any) -> Training:
    return Training(**{"model": mlp(), "batch": points(), **settings})


def convolutional(**settings: Any) -> Training:
    return Training(**{"model": cnn(), "batch": pictures(), "optimizer": adam(), **settings})


def language(**settings: Any) -> Training:
    model = settings.pop("model", None) or Transformer()
    return Training(model, sentences(), words_loss, **{"optimizer": adam(3e-3), **settings})


def recurrent(**settings: Any) -> Training:
    return Training(**{"model": Recurrent(), "batch": series(), "optimizer": adam(3e-3), **settings})
