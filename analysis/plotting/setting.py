"""Network, data, learning rate, batch and number of seeds of the runs in a figure, as one line."""

from __future__ import annotations

import pandas as pd

from analysis.summaries.comparison_arms import ARM, arms

_MODELS = {"cnn3": "3-layer CNN", "vgg7": "VGG-7", "densenet_bc": "DenseNet-BC-100", "gan": "GAN"}
_DATA = {
    "mnist": "MNIST",
    "mnist-subset": "5,000 MNIST digits",
    "fashion-mnist": "Fashion-MNIST",
    "cifar10": "CIFAR-10",
    "svhn": "SVHN",
}
_DEFINITIONS = {"paper": "", "released": "norms of the authors' scripts"}
MOST_VALUES = 3  # most values that are listed of a setting in which runs differ


def setting_line(runs: pd.DataFrame) -> str:
    """Return the settings of runs: ``"VGG-7 · CIFAR-10 · rate 0.001 · batch 64 · 10 epochs · 1 seed"``.

    A setting that a run does not name is left out. If runs differ in a setting, its values stand side by side.

    Args:
        runs: :func:`analysis.runs` of the runs in the figure.
    """
    parts = [
        _joined(runs, "model", _MODELS),
        _joined(runs, "data", _DATA),
        _numbered(runs, "train_images", "{} images a class"),
        _numbered(runs, "width", "width {}"),
        _numbered(runs, "learning_rate", "rate {}"),
        _numbered(runs, "batch_size", "batch {}"),
        _numbered(runs, "epochs", "{} epochs"),
        _joined(runs, "definition", _DEFINITIONS),
        seed_count(runs),
    ]
    return " · ".join(part for part in parts if part)


def seed_count(runs: pd.DataFrame) -> str:
    """Return the number of runs of an arm, which differ only in the seed: ``"3 seeds"``, ``"1 to 3 seeds"``."""
    counts = arms(runs)[ARM].value_counts() if len(runs) else pd.Series([0])
    fewest, most = int(counts.min()), int(counts.max())
    word = "seed" if "seed" in runs else "run"
    number = f"{most}" if fewest == most else f"{fewest} to {most}"
    return f"{number} {word}{'' if most == 1 else 's'}{' each' if most > 1 and len(counts) > 1 else ''}"


def _values(runs: pd.DataFrame, setting: str) -> list[object]:
    found = runs[setting].dropna() if setting in runs else pd.Series(dtype=object)
    return list(dict.fromkeys(found if found.map(type).nunique() > 1 else found.sort_values()))


def _joined(runs: pd.DataFrame, setting: str, words: dict[str, str]) -> str:
    values = _values(runs, setting)
    named = [words.get(str(value), str(value)) for value in values]
    shown = [name for name in named if name]
    if len(shown) < len(named) and shown:
        return f"some with {' or '.join(shown)}"
    return " and ".join(shown) if len(shown) <= MOST_VALUES else f"{len(shown)} of {setting}"


def _numbered(runs: pd.DataFrame, setting: str, words: str) -> str:
    values = [f"{value:g}" if isinstance(value, float | int) else str(value) for value in _values(runs, setting)]
    if not values or values == ["0"]:
        return ""
    return words.format("/".join(values) if len(values) <= MOST_VALUES else f"{values[0]} to {values[-1]}")
