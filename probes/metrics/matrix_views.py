"""The matrices of a weight: the unfolded weight and the kernel slices.

A convolution kernel is a tensor of four dimensions. Singular values are defined only for a matrix made from it.
"""

from __future__ import annotations

import math

from torch import Tensor


def unfolded(weight: Tensor, *, transposed: bool = False) -> Tensor:
    """Return the weight as one matrix, ``(out, in * kh * kw)``: the matrix that spectral normalisation divides.

    Shapes: ``(out, in, kh, kw) -> (out, in*kh*kw)``; for a transposed convolution, ``(in, out, kh, kw)``, the output
        dimension is moved to the front. Source: Miyato et al., "Spectral Normalization for GANs" (2018), section 2.1.
    """
    if transposed:
        weight = weight.transpose(0, 1)
    return weight.flatten(1)


def matrices(weight: Tensor, *, convolution: bool, transposed: bool = False) -> Tensor:
    """Return the matrices of a weight of two or more dimensions, ``(E, out, in)``.

    A weight of three dimensions that belongs to no convolution is a stack of ``E`` independent matrices: the experts
    ``(E, out, in)`` of a mixture, the bilinear forms ``(out, in1, in2)`` of ``nn.Bilinear``. Any other weight is one
    unfolded matrix, and ``E = 1``.
    """
    if weight.ndim == 3 and not convolution:
        return weight
    return unfolded(weight, transposed=transposed).unsqueeze(0)


def rms_factor(stack: Tensor) -> float:
    """Return ``sqrt(in / out)`` of matrices ``(E, out, in)``: ``sqrt(in / out) sigma_1`` is their RMS-to-RMS norm.

    Source: Yang, Simon and Bernstein, "A Spectral Condition for Feature Learning" (2023).
    """
    return math.sqrt(stack.shape[2] / stack.shape[1])


def kernel_slices(weight: Tensor) -> Tensor:
    """Return the kernel slices ``W[o, i, :, :]`` as a batch of matrices, ``(out * in, kh, kw)``.

    One-dimensional kernels give ``(out * in, 1, k)``, volumes ``(out * in, kd, kh * kw)``. Source: the matrices of the
    paper's Fig. 6.
    """
    slices = weight.flatten(0, 1)  # (out*in, *kernel)
    if slices.ndim == 2:
        return slices.unsqueeze(1)
    return slices.flatten(2)
