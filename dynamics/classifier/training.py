"""The training loop of a classifier: of images, or of the next character at each place of a text."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from dynamics.classifier.dataset import Batches
from dynamics.classifier.evaluation import cross_entropy, number_right
from dynamics.classifier.learning_rate import Rate
from dynamics.runtime.ranks import ALONE, Ranks

Penalty = Callable[[], Tensor]


@dataclass(frozen=True)
class Step:
    """One optimizer step that has been taken.

    Attributes:
        step: Optimizer steps taken before it.
        epoch: Epoch it belongs to, from 0.
        loss: Mean cross-entropy of its batch, before the step; a scalar on the training device.
        accuracy: Share of right answers in its batch; a scalar on the training device.
    """

    step: int
    epoch: int
    loss: Tensor
    accuracy: Tensor


class Observer(Protocol):
    """The part of a probe that the loop calls."""

    epoch: int | None

    def log(self, *, split: str = "train", **scalars: Any) -> None:
        """Record scalars of the present step."""


def train(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    batches: Batches,
    *,
    epochs: int,
    start: int = 0,
    accumulate: int = 1,
    probe: Observer | None = None,
    scaler: torch.amp.GradScaler | None = None,
    autocast: torch.dtype | None = None,
    ranks: Ranks = ALONE,
    rate: Rate | None = None,
    penalty: Penalty | None = None,
) -> Iterator[Step]:
    """Train by cross-entropy and yield after every optimizer step.

    The caller may evaluate, save or stop between two steps. A model whose iterator is abandoned has the parameters of
    the last step. A probe changes none of the numbers.

    Args:
        model: Returns logits, ``(batch, classes)`` or ``(batch, time, characters)``. It is put into training mode at
            the start. An evaluation between two steps must leave it in training mode.
        optimizer: An optimizer of the model's parameters.
        batches: The training batches.
        epochs: Train up to the end of this many epochs.
        start: Optimizer steps already taken by a resumed run.
        accumulate: Micro-batches in a step; the gradient is that of the whole batch.
        probe: A probe that observes the optimizer by its own hooks; the loop logs epoch, loss and accuracy to it.
        scaler: Scales the loss, for float16.
        autocast: Dtype of the forward; None computes in the model's own dtype.
        ranks: The processes that share each batch; the model must then average gradients over them.
        rate: The learning rate of each step, counted from 0; None leaves the optimizer's rate unchanged.
        penalty: A term that is added to the loss once a step. The recorded loss does not contain it.
    """
    scaler = scaler or torch.amp.GradScaler(enabled=False)
    first_epoch, skipped = divmod(start, len(batches))
    step = start
    model.train()
    for epoch in range(first_epoch, epochs):
        skip = skipped if epoch == first_epoch else 0
        for inputs, targets in batches.epoch(epoch, start=skip, rank=ranks.rank, ranks=ranks.count):
            if probe is not None:
                probe.epoch = epoch
            if rate is not None:
                for group in optimizer.param_groups:
                    group["lr"] = rate(step)
            optimizer.zero_grad(set_to_none=True)
            loss, accuracy = _accumulate(
                model, inputs, targets, parts=accumulate, scaler=scaler, autocast=autocast, penalty=penalty
            )
            loss, accuracy = ranks.mean(loss, accuracy)
            if probe is not None:
                probe.log(loss=loss, accuracy=accuracy)
            scaler.step(optimizer)
            scaler.update()
            yield Step(step, epoch, loss, accuracy)
            step += 1


def _accumulate(
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    *,
    parts: int,
    scaler: torch.amp.GradScaler,
    autocast: torch.dtype | None,
    penalty: Penalty | None,
) -> tuple[Tensor, Tensor]:
    """Add the gradient of the batch's mean loss and penalty to the parameters; return the loss and the accuracy."""
    loss = torch.zeros((), device=inputs.device)
    right = targets.new_zeros(())
    pairs = list(zip(inputs.chunk(parts), targets.chunk(parts), strict=True))
    for number, (some_inputs, some_targets) in enumerate(pairs, start=1):
        with _sync_only_if(model, last=number == len(pairs)):
            with _computing_in(autocast, inputs.device):
                logits = model(some_inputs)
                # Each part's mean is weighted by its share of the batch, so that the sum is the mean over the batch.
                part = cross_entropy(logits, some_targets) * (len(some_targets) / len(targets))
            loss += part.detach()
            whole = part + penalty() if penalty is not None and number == len(pairs) else part
            scaler.scale(whole).backward()
        right += number_right(logits.detach(), some_targets)
    return loss, right / targets.numel()


def _computing_in(dtype: torch.dtype | None, device: torch.device) -> AbstractContextManager[object]:
    return nullcontext() if dtype is None else torch.autocast(device.type, dtype)


def _sync_only_if(model: nn.Module, *, last: bool) -> AbstractContextManager[object]:
    """Return a context in which processes average gradients only at a step's last micro-batch."""
    if last or not isinstance(model, nn.parallel.DistributedDataParallel):
        return nullcontext()
    return model.no_sync()
