"""Kinds of modules that torch names by private base classes, each once."""

from __future__ import annotations

from torch import nn

CONVOLUTIONS: tuple[type[nn.Module], ...] = (
    (base,)
    if (base := getattr(nn.modules.conv, "_ConvNd", None)) is not None
    else (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
)
"""All convolutions.

Without ``_ConvNd``: torch's six public classes and their subclasses.
"""

BATCH_NORMS: tuple[type[nn.Module], ...] = (
    (base,)
    if (base := getattr(nn.modules.batchnorm, "_NormBase", None)) is not None
    else (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
)
"""All batch and instance norms.

Without ``_NormBase``: torch's public batch norms and their subclasses.
"""
