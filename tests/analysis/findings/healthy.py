"""Trainings that are as they should be: nothing in them is graver than a note."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from trainings import (
    Recurrent,
    Training,
    adam,
    cnn,
    convolutional,
    language,
    mlp,
    plain,
    points,
    recurrent,
    regression,
    sgd,
    warm_up_and_cosine,
)

from dynamics.norms import convert
from probes import Probe

STEPS = 60


class LoRA(nn.Module):
    """A frozen layer and a low-rank addition that starts at 0."""

    def __init__(self, columns: int, rows: int, rank: int = 4) -> None:
        super().__init__()
        self.base = nn.Linear(columns, rows).requires_grad_(False)
        self.lora_A, self.lora_B = nn.Linear(columns, rank, bias=False), nn.Linear(rank, rows, bias=False)
        nn.init.zeros_(self.lora_B.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + self.lora_B(self.lora_A(x))


def lora() -> nn.Module:
    return nn.Sequential(LoRA(8, 32), nn.ReLU(), LoRA(32, 32), nn.ReLU(), LoRA(32, 2))


class ReZero(nn.Module):
    """A residual block whose branch starts at 0."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(width, width), nn.Linear(width, width)
        nn.init.zeros_(self.down.weight)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.down(torch.relu(self.up(x)))


def fine_tuned() -> nn.Module:
    model = cnn()
    model[:6].requires_grad_(False)
    return model


def trained_before() -> nn.Module:
    """Return a network whose first layers were trained, and then frozen with the gradients that they held."""
    model = mlp()
    model(torch.randn(64, 8)).square().mean().backward()
    model[:4].requires_grad_(False)
    return model


def warm_restarts(optimizer: torch.optim.Optimizer) -> torch.optim.lr_scheduler.LRScheduler:
    return torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, STEPS // 3)


def warm_up_by_epochs(optimizer: torch.optim.Optimizer) -> torch.optim.lr_scheduler.LRScheduler:
    return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.1 if step < STEPS // 2 else 1.0)


def frozen_statistics(training: Training, step: int) -> None:
    training.model[:6].eval()


class Distilled(nn.Module):
    """A student beside the teacher that it learns from."""

    def __init__(self) -> None:
        super().__init__()
        self.teacher, self.student = mlp(outputs=1).requires_grad_(False), mlp(outputs=1)

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            goal = self.teacher(x)
        return self.student(x) - goal


def distance(outputs: Tensor, targets: Tensor) -> Tensor:
    return outputs.square().mean()


class GAN(nn.Module):
    """A generator of points and its critic."""

    def __init__(self) -> None:
        super().__init__()
        self.critic = nn.Sequential(
            nn.Linear(2, 32), nn.LeakyReLU(0.2), nn.Linear(32, 32), nn.LeakyReLU(0.2), nn.Linear(32, 1)
        )
        self.generator = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 2))


def train_gan(store: Path, *, wasserstein: bool, critic_steps: int = 1) -> None:
    model = GAN()
    of_critic = torch.optim.Adam(model.critic.parameters(), 1e-3, betas=(0.5, 0.9))
    of_generator = torch.optim.Adam(model.generator.parameters(), 1e-3, betas=(0.5, 0.9))
    with Probe(model, [of_critic, of_generator], store=store, run="r", every=1) as probe:
        for _ in range(STEPS):
            for _ in range(critic_steps):
                real = torch.randn(64, 2) * 0.5 + 1
                fake = model.generator(torch.randn(64, 4)).detach()
                of_real, of_fake = model.critic(real), model.critic(fake)
                if wasserstein:
                    loss = of_fake.mean() - of_real.mean() + 0.1 * (of_real.square().mean() + of_fake.square().mean())
                else:
                    loss = F.softplus(-of_real).mean() + F.softplus(of_fake).mean()
                of_critic.zero_grad()
                loss.backward()
                of_critic.step()
            judged = model.critic(model.generator(torch.randn(64, 4)))
            cost = -judged.mean() if wasserstein else F.softplus(-judged).mean()
            of_generator.zero_grad()
            cost.backward()
            of_generator.step()
            probe.log(loss=loss.item(), generator_loss=cost.item())


def runs(make: Callable[[], Training]) -> Callable[[Path], None]:
    return lambda store: make().run(store)


HEALTHY: dict[str, Callable[[Path], None]] = {
    "MLP with SGD": runs(lambda: plain(steps=STEPS)),
    "MLP with Adam at a high rate": runs(lambda: plain(optimizer=adam(1e-2), steps=STEPS)),
    "convolutions with batch norm": runs(lambda: convolutional(steps=STEPS)),
    "transformer with layer norm": runs(lambda: language(steps=STEPS)),
    "LSTM, clipped": runs(lambda: recurrent(steps=STEPS, clip=1.0)),
    "GRU": runs(lambda: recurrent(model=Recurrent(nn.GRU), steps=STEPS)),
    "fine-tuning of the head": runs(lambda: convolutional(model=fine_tuned(), steps=STEPS)),
    "fine-tuning with frozen statistics": runs(
        lambda: convolutional(model=fine_tuned(), each=frozen_statistics, steps=STEPS)
    ),
    "head behind layers that hold old gradients": runs(
        lambda: plain(model=trained_before(), trained=lambda m: list(m[4:].parameters()), steps=STEPS)
    ),
    "LoRA with Adam": runs(lambda: plain(model=lora(), optimizer=adam(), steps=STEPS)),
    "LoRA with SGD": runs(lambda: plain(model=lora(), optimizer=sgd(1e-2), steps=STEPS)),
    "GAN with softplus loss": lambda store: train_gan(store, wasserstein=False),
    "Wasserstein GAN, five critic steps": lambda store: train_gan(store, wasserstein=True, critic_steps=5),
    "warm-up from 0 and cosine to 0": runs(lambda: language(steps=STEPS, scheduler=warm_up_and_cosine(STEPS))),
    "warm restarts": runs(lambda: plain(optimizer=sgd(0.3), scheduler=warm_restarts, steps=2 * STEPS)),
    "warm-up by epochs": runs(lambda: plain(optimizer=sgd(0.3), scheduler=warm_up_by_epochs, steps=STEPS)),
    "spectral norm": runs(lambda: convolutional(model=convert(cnn(), "sn"), steps=STEPS)),
    "mean spectral norm": runs(lambda: convolutional(model=convert(cnn(), "msn"), steps=STEPS)),
    "batches of two": runs(lambda: plain(batch=points(size=2), optimizer=adam(), steps=2 * STEPS)),
    "batches of one picture": runs(lambda: convolutional(model=cnn(norm=False), batch=one_picture(), steps=2 * STEPS)),
    "bfloat16 autocast": runs(lambda: convolutional(steps=STEPS, autocast=True)),
    "micro-batches": runs(lambda: plain(steps=STEPS, micro_batches=4)),
    "regression until it fits": runs(
        lambda: plain(
            model=mlp(3, outputs=1),
            batch=one_batch(),
            objective=F.mse_loss,
            optimizer=adam(1e-2),
            steps=5 * STEPS,
            every=5,
        )
    ),
    "residual branches that start at 0": runs(
        lambda: plain(model=nn.Sequential(nn.Linear(8, 32), ReZero(32), ReZero(32), nn.Linear(32, 2)), steps=STEPS)
    ),
    "distillation": runs(lambda: plain(model=Distilled(), objective=distance, optimizer=adam(), steps=STEPS)),
    "AdamW": runs(
        lambda: language(optimizer=lambda p: torch.optim.AdamW(p, lr=3e-3, weight_decay=0.1), steps=STEPS, every=5)
    ),
}


def one_picture() -> Callable[[int], tuple[Tensor, Tensor]]:
    from trainings import pictures

    return pictures(size=1)


def one_batch() -> Callable[[int], tuple[Tensor, Tensor]]:
    batch = regression(size=16)
    first = batch(0)
    return lambda _: first
