"""The data set of a configuration: its statistics, its number of images and its augmentation."""

from __future__ import annotations

from dataclasses import replace

from dynamics.classifier.config import AUTO, DIGITS, RunConfig
from dynamics.data.images import DataSet, first_of_each_class

RELEASED_STATISTICS = {  # mean and standard deviation as the authors' scripts have them
    "mnist": ((0.4914,), (0.2023,)),
    "cifar10": ((0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)),
    "svhn": ((0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)),
}


def augmentation(config: RunConfig) -> str:
    """Return the augmentation that ``auto`` stands for.

    Crops and mirror images, but no mirrored digits. The released scripts, and so the released definition, mirror the
    digits of MNIST too and do not augment SVHN.
    """
    if config.augmentation != AUTO:
        return config.augmentation
    if config.definition == "released":
        return "none" if config.data == "svhn" else "crop-flip"
    return "crop" if config.data in DIGITS else "crop-flip"


def prepare_data(config: RunConfig, data: DataSet) -> DataSet:
    """Return the data set with the statistics of the configuration's definition and as many images as it asks for."""
    if config.definition == "released" and config.data in RELEASED_STATISTICS:
        mean, std = RELEASED_STATISTICS[config.data]
        data = replace(data, mean=mean, std=std)
    if config.train_images:
        data = replace(data, train=first_of_each_class(data.train, config.train_images))
    return data
