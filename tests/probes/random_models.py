"""Random small models and training loops, for the fuzz of the probe: every kind of layer of ``torch.nn``."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torch.utils.checkpoint import checkpoint

WIDTH, LENGTH, SIDE = 4, 6, 6


class Pair(NamedTuple):
    """A structured output."""

    hidden: Tensor
    aside: Tensor


@dataclass
class Answer:
    """A structured output of another kind."""

    hidden: Tensor


class Structured(nn.Module):
    """Wraps a layer so that its output is a tuple, a dict, a named tuple or a dataclass."""

    def __init__(self, inner: nn.Module, kind: str) -> None:
        super().__init__()
        self.inner, self.kind = inner, kind
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Any:
        y = self.inner(x) * self.scale
        kinds = {"tuple": (y, None), "dict": {"hidden": y}, "named": Pair(y, x), "dataclass": Answer(y)}
        return kinds[self.kind]


class Bare(nn.Module):
    """Parameters of its own, with names of all kinds."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(WIDTH))
        self.q_bias = nn.Parameter(torch.zeros(WIDTH))
        self.table_bias = nn.Parameter(torch.zeros(1, WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gain + self.q_bias + self.table_bias


class First(nn.Module):
    """Hands on the first part of what a layer returns."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return first_of(self.inner(x))


class Attention(nn.Module):
    """Self-attention, called by keyword."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(WIDTH, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.attention(query=x, key=x, value=x, need_weights=False)[0]


class Twice(nn.Module):
    """Calls one layer twice."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(self.inner(x))


class BilinearOfOne(nn.Module):
    """A bilinear form of one input."""

    def __init__(self) -> None:
        super().__init__()
        self.form = nn.Bilinear(WIDTH, WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        return self.form(x, x)


def first_of(value: Any) -> Tensor:
    """Return the tensor that a structured output hands on."""
    if isinstance(value, dict):
        return value["hidden"]
    if isinstance(value, Answer):
        return value.hidden
    return value[0] if isinstance(value, tuple) else value


def _with(function: Callable[[nn.Module], nn.Module], make: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    return lambda: function(make())


_LINEAR = lambda: nn.Linear(WIDTH, WIDTH)  # noqa: E731
_CONV1, _CONV2 = (lambda: nn.Conv1d(WIDTH, WIDTH, 3, padding=1)), (lambda: nn.Conv2d(WIDTH, WIDTH, 3, padding=1))
_POINTWISE: list[Callable[[], nn.Module]] = [
    nn.ReLU,
    nn.LeakyReLU,
    nn.ELU,
    nn.GELU,
    nn.SiLU,
    nn.Mish,
    nn.Tanh,
    nn.Sigmoid,
    nn.Softplus,
    nn.Hardswish,
    nn.Softsign,
    nn.Identity,
    lambda: nn.Dropout(0.3),
    nn.PReLU,
    lambda: nn.Softmax(-1),
]
_VECTORS: list[Callable[[], nn.Module]] = [
    _LINEAR,
    lambda: nn.Sequential(_LINEAR(), nn.ReLU(inplace=True)),
    lambda: nn.Linear(WIDTH, WIDTH, bias=False),
    BilinearOfOne,
    lambda: nn.BatchNorm1d(WIDTH),
    Bare,
    lambda: nn.LayerNorm(WIDTH),
    lambda: nn.RMSNorm(WIDTH),
    lambda: nn.PReLU(WIDTH),
    lambda: nn.GroupNorm(2, WIDTH),
    _with(parametrizations.weight_norm, _LINEAR),
    _with(parametrizations.spectral_norm, _LINEAR),
    _with(parametrizations.orthogonal, _LINEAR),
    lambda: First(nn.LSTMCell(WIDTH, WIDTH)),
    lambda: nn.GRUCell(WIDTH, WIDTH),
    lambda: nn.RNNCell(WIDTH, WIDTH),
    lambda: Structured(_LINEAR(), "tuple"),
    lambda: Structured(_LINEAR(), "dict"),
    lambda: Structured(_LINEAR(), "named"),
    lambda: Structured(_LINEAR(), "dataclass"),
    lambda: Twice(_LINEAR()),
    lambda: nn.Sequential(nn.Linear(WIDTH, 7), nn.BatchNorm1d(7, affine=False), nn.Linear(7, WIDTH)),
]
_SEQUENCES: list[Callable[[], nn.Module]] = [
    _LINEAR,
    lambda: First(nn.GRU(WIDTH, WIDTH, batch_first=True)),
    lambda: First(nn.LSTM(WIDTH, WIDTH, batch_first=True)),
    lambda: First(nn.RNN(WIDTH, WIDTH, batch_first=True)),
    Attention,
    lambda: nn.LayerNorm(WIDTH),
    Bare,
    lambda: nn.TransformerEncoderLayer(WIDTH, 2, 8, dropout=0.1, batch_first=True),
    lambda: nn.LayerNorm((LENGTH, WIDTH)),
]
_SIGNALS: list[Callable[[], nn.Module]] = [
    _CONV1,
    lambda: nn.ConvTranspose1d(WIDTH, WIDTH, 3, padding=1),
    lambda: nn.BatchNorm1d(WIDTH),
    lambda: nn.PReLU(WIDTH),
    lambda: nn.InstanceNorm1d(WIDTH, affine=True),
    lambda: nn.GroupNorm(2, WIDTH),
    lambda: Twice(_CONV1()),
    _with(parametrizations.weight_norm, _CONV1),
    lambda: nn.LocalResponseNorm(2),
]
_IMAGES: list[Callable[[], nn.Module]] = [
    _CONV2,
    lambda: nn.Sequential(_CONV2(), nn.ReLU(inplace=True)),
    lambda: nn.Conv2d(WIDTH, WIDTH, 3, padding=1, groups=2),
    lambda: nn.ConvTranspose2d(WIDTH, WIDTH, 3, padding=1),
    lambda: nn.Conv2d(WIDTH, WIDTH, 3, padding=1, padding_mode="circular"),
    lambda: nn.BatchNorm2d(WIDTH),
    nn.PReLU,
    lambda: nn.InstanceNorm2d(WIDTH, affine=True),
    lambda: nn.GroupNorm(2, WIDTH),
    lambda: nn.Dropout2d(0.2),
    _with(parametrizations.spectral_norm, _CONV2),
    lambda: Structured(_CONV2(), "dict"),
    lambda: nn.PReLU(WIDTH),
    lambda: nn.LayerNorm((WIDTH, SIDE, SIDE)),
]
_VOLUMES: list[Callable[[], nn.Module]] = [
    lambda: nn.Conv3d(WIDTH, WIDTH, 3, padding=1),
    lambda: nn.ConvTranspose3d(WIDTH, WIDTH, 3, padding=1),
    lambda: nn.BatchNorm3d(WIDTH),
    lambda: nn.InstanceNorm3d(WIDTH, affine=True),
]
DOMAINS: dict[str, tuple[tuple[int, ...], list[Callable[[], nn.Module]]]] = {
    "vectors": ((WIDTH,), _VECTORS),
    "sequences": ((LENGTH, WIDTH), _SEQUENCES),
    "signals": ((WIDTH, LENGTH), _SIGNALS),
    "images": ((WIDTH, SIDE, SIDE), _IMAGES),
    "volumes": ((WIDTH, 4, 4, 4), _VOLUMES),
    "words": ((LENGTH,), _SEQUENCES),
}


class RandomModel(nn.Module):
    """A chain of random layers, some of them shared, frozen, checkpointed or never called, and a head."""

    def __init__(self, choose: random.Random) -> None:
        super().__init__()
        self.domain = choose.choice(sorted(DOMAINS))
        self.shape, layers = DOMAINS[self.domain]
        self.words = nn.Embedding(11, WIDTH, sparse=False) if self.domain == "words" else None
        count = choose.randint(2, 6)
        parts = [choose.choice(choose.choice([layers, layers, _POINTWISE]))() for _ in range(count)]
        if choose.random() < 0.3:
            parts.append(choose.choice(parts))
        self.parts = nn.ModuleList(parts)
        self.unused = nn.Linear(3, 3) if choose.random() < 0.2 else None
        self.rerun = {place for place in range(len(parts)) if choose.random() < 0.1}
        shape = (LENGTH, WIDTH) if self.words is not None else self.shape
        self.head = nn.Linear(int(torch.tensor(shape).prod()), 3)
        for part in parts[:-1]:
            if choose.random() < 0.15:
                part.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        if self.words is not None:
            x = self.words(x)
        for place, part in enumerate(self.parts):
            y = checkpoint(part, x, use_reentrant=False) if place in self.rerun and x.requires_grad else part(x)
            x = first_of(y)
        return self.head(x.flatten(1))

    def batch(self, size: int, dtype: torch.dtype) -> Tensor:
        """Return random inputs."""
        if self.words is not None:
            return torch.randint(11, (size, *self.shape))
        return torch.randn(size, *self.shape, dtype=dtype)


class RandomLoop:
    """A training loop of random habits."""

    def __init__(self, choose: random.Random, model: RandomModel) -> None:
        self.model = model
        self.dtype = choose.choice([torch.float32] * 5 + [torch.float64, torch.bfloat16])
        kinds = ["plain", "plain", "accumulate", "closure", "lbfgs", "two optimizers", "scaler", "autocast", "early"]
        self.kind = choose.choice(kinds if self.dtype is torch.float32 else kinds[:4])
        self.clips, self.to_none = choose.random() < 0.3, choose.random() < 0.7
        self.copies, self.evaluates = choose.random() < 0.2, choose.random() < 0.3
        model.to(self.dtype)
        trained = [p for p in model.parameters() if p.requires_grad]
        if self.kind == "two optimizers" and len(trained) > 2:
            self.optimizers = [torch.optim.SGD(trained[:-2], lr=0.01), torch.optim.Adam(trained[-2:], lr=0.01)]
        elif self.kind == "lbfgs":
            self.optimizers = [torch.optim.LBFGS(trained, lr=0.01, max_iter=3)]
        else:
            make = choose.choice([torch.optim.SGD, torch.optim.Adam, torch.optim.RMSprop, torch.optim.Adagrad])
            self.optimizers = [make(trained, lr=0.01, foreach=choose.choice([None, False, True]))]
        self.optimizers = [each for each in self.optimizers if each.param_groups[0]["params"]]
        self.scaler = torch.amp.GradScaler("cpu", init_scale=256.0) if self.kind == "scaler" else None

    def loss(self) -> Tensor:
        """Return the loss of a random batch."""
        x, y = self.model.batch(4, self.dtype), torch.randint(3, (4,))
        with torch.autocast("cpu", torch.bfloat16, enabled=self.kind == "autocast"):
            out = self.model(x)
        return nn.functional.cross_entropy(out.float(), y)

    def backward(self) -> Tensor:
        """Run one pass forward and backward."""
        loss = self.loss()
        (loss if self.scaler is None else self.scaler.scale(loss)).backward()
        return loss

    def step(self) -> None:
        """Make one training step."""
        for each in self.optimizers:
            each.zero_grad(set_to_none=self.to_none)
        if self.kind in ("closure", "lbfgs"):
            self.optimizers[0].step(self.closure)
        else:
            for _ in range(3 if self.kind == "accumulate" else 1):
                self.backward()
            self.update()
        if self.evaluates:
            self.model.eval()
            with torch.no_grad():
                self.loss()
            self.model.train()
        if self.copies:
            copy.deepcopy(self.model)(self.model.batch(2, self.dtype))

    def update(self) -> None:
        """Clip, unscale and step."""
        for each in self.optimizers:
            if self.scaler is not None:
                self.scaler.unscale_(each)
            if self.clips:
                nn.utils.clip_grad_norm_([p for group in each.param_groups for p in group["params"]], 0.1)
            each.step() if self.scaler is None else self.scaler.step(each)
        if self.scaler is not None:
            self.scaler.update()

    def closure(self) -> Tensor:
        """Evaluate the loss and its gradient inside an optimizer's step."""
        for each in self.optimizers:
            each.zero_grad(set_to_none=self.to_none)
        return self.backward()
