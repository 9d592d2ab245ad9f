"""Frechet distance between two sets of features, each modelled as a Gaussian: the distance in FID."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from dynamics.gan.scoring.moments import Moments


def frechet_distance(a: Moments, b: Moments) -> float:
    """Squared Wasserstein-2 distance of two Gaussians with the given means and covariances.

    Formula: ``|mu_a - mu_b|^2 + tr C_a + tr C_b - 2 tr (C_a C_b)^(1/2)``, where
    ``tr (C_a C_b)^(1/2)`` is the sum of the singular values of ``C_a^(1/2) C_b^(1/2)``.
    Both roots are computed from symmetric eigenvalues in float64. The matrix ``C_a C_b`` is not symmetric, and its
    square root is never computed. Rounding makes its eigenvalues near zero complex or negative, and their square roots
    turn rounding of 1e-16 into noise of 1e-8 for every missing dimension.

    Reference: Dowson and Landau (1982), Heusel et al. (2017).

    Args:
        a: Moments of one set of features.
        b: Moments of the other set, from the same extractor.

    Returns:
        The distance, in squared feature units; 0 for equal moments up to rounding, and never negative.
        NaN or infinite moments give NaN.

    Raises:
        ValueError: The sets have features of different lengths, or a set has fewer than two vectors.
    """
    if a.mean.shape != b.mean.shape:
        raise ValueError(
            f"features of {len(a.mean)} and of {len(b.mean)} numbers have no distance: "
            "take both with the same extractor."
        )
    cov_a, cov_b = a.covariance, b.covariance
    if not (cov_a.isfinite().all() and cov_b.isfinite().all()):
        return float("nan")  # LAPACK raises for values that are not finite; a diverged generator must not raise
    overlap = torch.linalg.svdvals(_root(cov_a).mT @ _root(cov_b)).sum()
    distance = (a.mean - b.mean).square().sum() + cov_a.trace() + cov_b.trace() - 2 * overlap
    return max(distance.item(), 0.0)


def _root(covariance: Tensor) -> Tensor:
    """Return R with ``R R^T = covariance``, one column for each eigenvalue above rounding, shape ``(d, rank)``."""
    eigenvalues, eigenvectors = torch.linalg.eigh(covariance)
    floor = len(covariance) * torch.finfo(covariance.dtype).eps * eigenvalues[-1]
    kept = eigenvalues > floor  # a smaller eigenvalue is rounding error, and its root would be 1e8 times larger
    return eigenvectors[:, kept] * eigenvalues[kept].sqrt()
