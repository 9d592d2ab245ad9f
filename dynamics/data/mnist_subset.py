"""The MNIST subset that ships with the package: real digits without a download.

It has 5,000 training and 1,000 test images, 500 and 100 of every digit. ``tests/dynamics/data/make_mnist_subset.py``
chooses and packs them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from dynamics.data.images import DataSet, Images

PATH = Path(__file__).with_name("mnist_subset.npz")
TRAIN_PER_DIGIT, TEST_PER_DIGIT = 500, 100
MNIST_MEAN, MNIST_STD = (0.1307,), (0.3081,)  # of the 60,000 training images


def load_mnist_subset() -> DataSet:
    """Return the shipped subset: 28x28, one channel, ten balanced classes."""
    with np.load(PATH) as arrays:
        train, test = (
            Images(
                torch.from_numpy(arrays[f"{split}_images"]).unsqueeze(1),
                torch.from_numpy(arrays[f"{split}_labels"]).long(),
            )
            for split in ("train", "test")
        )
    return DataSet("mnist-subset", train, test, num_classes=10, mean=MNIST_MEAN, std=MNIST_STD)
