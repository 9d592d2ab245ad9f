"""A small classifier trained on the run's own data: the extractor for data without a published extractor (digits)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional as F

from dynamics.data.batches import TrainingBatches, in_order
from dynamics.data.seeding import derive_seed
from dynamics.gan.scoring.extractors.extractor import Extractor, Features, load_weights, read_weights

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from torch import Tensor

    from dynamics.data.images import DataSet

FEATURES = 64
PEAK_RATE = 0.01


class SmallCNN(Extractor):
    """Three convolutions with batch norm, of 16, 32 and 64 channels; the mean of each of the last 64 is a feature.

    Args:
        name: Part of the scores' names: ``cnn_mnist``.
        in_channels: Channels of the images.
        num_classes: Number of classes.
    """

    accuracy: Tensor

    def __init__(self, name: str, *, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.name = name
        self.body = nn.Sequential(
            *_stage(in_channels, 16), nn.MaxPool2d(2), *_stage(16, 32), nn.MaxPool2d(2), *_stage(32, FEATURES)
        )
        self.linear = nn.Linear(FEATURES, num_classes)
        # Test accuracy, kept with the weights: the quality of a score depends on that of the classifier.
        self.register_buffer("accuracy", torch.tensor(float("nan")))

    def forward(self, images: Tensor) -> Features:
        """Return features ``(n, 64)`` and logits ``(n, classes)``."""
        vectors = self.body(images).mean(dim=(2, 3))
        return Features(vectors, self.linear(vectors))

    def classifier(self) -> nn.Module:
        """Return the module that is trained: it maps images to logits and shares this extractor's parameters."""
        return nn.Sequential(self.body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), self.linear)


def _stage(in_channels: int, out_channels: int) -> tuple[nn.Module, ...]:
    conv = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
    return conv, nn.BatchNorm2d(out_channels), nn.ReLU()


def train_small_cnn(data: DataSet, *, steps: int = 1000, batch_size: int = 64, seed: int = 0) -> SmallCNN:
    """Return a classifier trained on a data set's training images, with its accuracy on the test images.

    The optimizer is Adam, its learning rate falls linearly from 0.01 to 0, and there is no augmentation. The global
    random generator is not changed.

    Args:
        data: Images of the size that will be scored.
        steps: Smallest number of optimizer steps. It is rounded up to whole passes through the training images.
        batch_size: Images in a step.
        seed: Seed of weights and order.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "extractor"))
        model = SmallCNN(_name(data), in_channels=data.in_channels, num_classes=data.num_classes)
    model.to(data.train.pixels.device)
    classifier = model.classifier()
    # Pixels stay in 0..1: the first batch norm standardises the first convolution's output.
    mean, std = (0.0,) * data.in_channels, (1.0,) * data.in_channels
    batches = TrainingBatches(data.train, mean=mean, std=std, batch_size=batch_size, seed=seed)
    epochs = math.ceil(steps / len(batches))
    optimizer = torch.optim.Adam(classifier.parameters(), lr=PEAK_RATE)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=epochs * len(batches))
    classifier.train()
    for epoch in range(epochs):
        for images, labels in batches.epoch(epoch):
            optimizer.zero_grad()
            F.cross_entropy(classifier(images), labels).backward()
            optimizer.step()
            schedule.step()
    model.eval()
    model.accuracy.fill_(_accuracy(classifier, in_order(data.test, mean=mean, std=std, batch_size=500)))
    return model


@torch.no_grad()
def _accuracy(classifier: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> float:
    """Return the share of right answers, 0 to 1, of a classifier in evaluation mode."""
    right = [classifier(images).argmax(1) == labels for images, labels in batches]
    return float(torch.cat(right).double().mean())


def load_small_cnn(path: Path, data: DataSet) -> SmallCNN:
    """Return the classifier that was trained on this data set and saved with ``torch.save(model.state_dict())``.

    Raises:
        ValueError: The file cannot be read or does not hold such a classifier.
    """
    model = SmallCNN(_name(data), in_channels=data.in_channels, num_classes=data.num_classes)
    load_weights(model, read_weights(path), path)
    return model.eval()


def _name(data: DataSet) -> str:
    return "cnn_" + "".join(c if c.isalnum() else "_" for c in data.name.partition(":")[0])
