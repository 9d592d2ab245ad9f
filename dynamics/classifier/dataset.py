"""The data set of a configuration: images or text, prepared by the configuration's settings, in batches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from os import PathLike
from typing import Literal, Protocol

from torch import Tensor

from dynamics.classifier.config import AUTO, DIGITS, RunConfig
from dynamics.data.batches import TrainingBatches, in_order, standardize
from dynamics.data.images import DataSet, evenly_spaced, first_of_each_class
from dynamics.data.sources import load_data
from dynamics.data.text.text_file import PREFIX, load_text
from dynamics.data.text.text_set import CONTEXT, TextSet
from dynamics.data.text.windows import TextBatches, window_count, windows

Data = DataSet | TextSet
Split = Literal["train", "test"]
RELEASED_STATISTICS = {  # mean and standard deviation in the authors' scripts
    "mnist": ((0.4914,), (0.2023,)),
    "cifar10": ((0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)),
    "svhn": ((0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)),
}


class Batches(Protocol):
    """The training batches of every epoch. Each batch is a pure function of the seed, the epoch and its number."""

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""

    def epoch(self, epoch: int, *, start: int = 0, rank: int = 0, ranks: int = 1) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield inputs and targets of this process's share, from batch ``start`` on."""


def load(config: RunConfig, *, data_dir: str | PathLike[str] = "data", download: bool = False) -> Data:
    """Return the images or the text that a configuration names.

    Raises:
        ValueError: The name is unknown, or files are damaged.
        FileNotFoundError: Files are missing.
    """
    if config.data.startswith(PREFIX):
        return load_text(config.data)
    return load_data(config.data, data_dir=data_dir, download=download)


def augmentation(config: RunConfig) -> str:
    """Return the configuration's augmentation, with ``auto`` replaced.

    ``auto`` is ``crop-flip``, but ``crop`` for digits, which have no mirror images. In the authors' scripts, and
    therefore in the released definition, it is ``crop-flip`` for MNIST too and ``none`` for SVHN.
    """
    if config.augmentation != AUTO:
        return config.augmentation
    if config.definition == "released":
        return "none" if config.data == "svhn" else "crop-flip"
    return "crop" if config.data in DIGITS else "crop-flip"


def prepare_data(config: RunConfig, data: DataSet) -> DataSet:
    """Return the images with the mean and deviation of the configuration's definition, cut to ``train_images``."""
    if config.definition == "released" and config.data in RELEASED_STATISTICS:
        mean, std = RELEASED_STATISTICS[config.data]
        data = replace(data, mean=mean, std=std)
    if config.train_images:
        data = replace(data, train=first_of_each_class(data.train, config.train_images))
    return data


def prepare_text(config: RunConfig, data: TextSet) -> TextSet:
    """Return the text with the context of the configuration.

    Raises:
        ValueError: The held-out text has no window of that context.
    """
    context = config.context or CONTEXT
    if len(data.test) <= context:
        raise ValueError(
            f"data set {data.name!r}: the last tenth of the text, held out for the test, has {len(data.test)} "
            f"characters; expected more than the context of {context}."
        )
    return replace(data, context=context)


def prepared(config: RunConfig, data: Data) -> Data:
    """Return images or text prepared for the configuration, see :func:`prepare_data` and :func:`prepare_text`."""
    return prepare_text(config, data) if isinstance(data, TextSet) else prepare_data(config, data)


def training_batches(config: RunConfig, data: Data) -> Batches:
    """Return the training batches of prepared data, on its device.

    Raises:
        ValueError: There are fewer images, or windows of text, than one batch.
    """
    if isinstance(data, TextSet):
        return TextBatches(data.train, context=data.context, batch_size=config.batch_size, seed=config.seed)
    return TrainingBatches(
        data.train,
        mean=data.mean,
        std=data.std,
        batch_size=config.batch_size,
        augmentation=augmentation(config),
        seed=config.seed,
    )


def evaluation_batches(data: Data, *, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield all test images and labels, or all windows of the held-out text and the next character at each position."""
    if isinstance(data, DataSet):
        yield from in_order(data.test, mean=data.mean, std=data.std, batch_size=batch_size)
        return
    inputs, targets = windows(data.test, context=data.context)
    yield from zip(inputs.split(batch_size), targets.split(batch_size), strict=True)


def evenly_chosen(data: Data, split: Split, *, most: int) -> tuple[Tensor, Tensor]:
    """Return inputs and targets of every k-th image or window, without augmentation, at most ``most`` of them."""
    if isinstance(data, DataSet):
        images = evenly_spaced(getattr(data, split), most=most)
        return standardize(images.pixels, data.mean, data.std), images.labels
    inputs, targets = windows(getattr(data, split), context=data.context)
    step = max(1, -(-len(inputs) // most))
    return inputs[::step], targets[::step]


def sample_counts(config: RunConfig, data: Data) -> tuple[int, int]:
    """Return the number of training and of test images or windows of an epoch, for data not yet prepared."""
    if isinstance(data, DataSet):
        return config.train_images * data.num_classes or len(data.train), len(data.test)
    context = config.context or CONTEXT
    return window_count(data.train, context=context), window_count(data.test, context=context)
