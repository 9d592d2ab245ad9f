"""Feature extractors, by the names that ``--extractor`` takes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from dynamics.gan.scoring.extractors.extractor import Extractor, Features, extract
from dynamics.gan.scoring.extractors.inception_v3 import load_inception
from dynamics.gan.scoring.extractors.resnet20 import load_resnet20
from dynamics.gan.scoring.extractors.small_cnn import load_small_cnn, train_small_cnn

if TYPE_CHECKING:
    from collections.abc import Callable

    from dynamics.data.images import DataSet

__all__ = ["Extractor", "Features", "choose_extractor", "extract"]

FROM_FILE: dict[str, Callable[[Path], Extractor]] = {"inception": load_inception, "resnet20": load_resnet20}
TRAINED = "trained"
NONE = "none"


def choose_extractor(word: str, data: DataSet, *, folder: Path) -> Extractor | None:
    """Return the extractor that a word names, on the data's device.

    Args:
        word: ``inception:PATH`` or ``resnet20:PATH`` for weights in a local file; ``trained`` for a small classifier
            that is trained on this data once and kept; ``none`` for no extractor.
        data: The images that will be scored.
        folder: Folder of the trained classifier.

    Raises:
        ValueError: The word is unknown, or the file does not hold the weights.
        FileNotFoundError: There is no such file.
    """
    kind, _, path = word.partition(":")
    if word == NONE:
        return None
    if word == TRAINED:
        extractor: Extractor = _trained(data, folder)
    elif kind in FROM_FILE and path:
        extractor = _read(FROM_FILE[kind], Path(path))
    else:
        expected = ", ".join((*(f"{name}:PATH" for name in FROM_FILE), TRAINED, NONE))
        raise ValueError(f"extractor {word!r}: expected one of {expected}.")
    return extractor.to(data.train.pixels.device)


def _trained(data: DataSet, folder: Path) -> Extractor:
    path = folder / f"{data.name.partition(':')[0]}.pt"
    if path.is_file():
        return _read(lambda file: load_small_cnn(file, data), path)
    model = train_small_cnn(data)
    folder.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".partial-{os.getpid()}")  # two runs may train at once, and get the same weights
    torch.save(model.state_dict(), partial)
    partial.replace(path)
    return model


def _read(load: Callable[[Path], Extractor], path: Path) -> Extractor:
    if not path.is_file():
        raise FileNotFoundError(f"extractor weights {path}: no such file; they are not downloaded.")
    return load(path)
