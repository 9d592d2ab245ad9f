"""The published numbers of the paper's Tables I to III."""

from __future__ import annotations

import pandas as pd

# Table I: test accuracy in per cent, by the network and the data set it was trained on.
_ACCURACY = {
    ("cnn3", "mnist"): {"bn": 98.28, "sn": 89.55, "msn": 96.71},
    ("vgg7", "svhn"): {"bn": 88.56, "sn": 78.43, "msn": 90.86},
    ("densenet_bc", "cifar10"): {"bn": 92.27, "sn": 90.52, "msn": 91.65},
}
# Table II: Inception score and Frechet distance on CIFAR-10 with their standard deviations, by the critic's norm.
_SCORES = {"real": (11.24, 0.12, 7.8), "bn": (6.42, 0.10, 41.3), "sn": (7.42, 0.08, 29.3), "msn": (7.39, 0.07, 29.8)}
# Table III: trainable parameters.
_PARAMETERS = {
    "critic": {"bn": 2_938_689, "sn": 2_935_873, "msn": 2_937_282},
    "cnn3": {"bn": 103_562, "sn": 103_406, "msn": 103_486},
    "vgg7": {"bn": 438_314, "sn": 437_168, "msn": 437_744},
    "densenet_bc": {"bn": 1_009_730, "sn": 1_007_608, "msn": 1_008_670},
}


def published_accuracy() -> pd.DataFrame:
    """Return Table I: ``model``, ``data``, ``norm``, ``published``, a share from 0 to 1."""
    rows = [
        (model, data, norm, percent / 100)
        for (model, data), by_norm in _ACCURACY.items()
        for norm, percent in by_norm.items()
    ]
    return pd.DataFrame(rows, columns=["model", "data", "norm", "published"])


def published_scores() -> pd.DataFrame:
    """Return Table II, on Inception features: ``norm``, ``published_is``, ``published_is_std``, ``published_fid``."""
    rows = [(norm, *values) for norm, values in _SCORES.items()]
    return pd.DataFrame(rows, columns=["norm", "published_is", "published_is_std", "published_fid"])


def published_parameters() -> pd.DataFrame:
    """Return Table III: ``model``, ``norm``, ``published``."""
    rows = [(model, norm, count) for model, by_norm in _PARAMETERS.items() for norm, count in by_norm.items()]
    return pd.DataFrame(rows, columns=["model", "norm", "published"])
