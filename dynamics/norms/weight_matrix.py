"""The layers whose weight can be normalised, and that weight as a matrix."""

from __future__ import annotations

from torch import Tensor, nn

LAYERS = (
    nn.Linear,
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


def output_dimension(layer: nn.Module) -> int:
    """Return the dimension of the weight that counts output channels: 0, and 1 of a transposed convolution.

    Raises:
        TypeError: The module is none of ``LAYERS``.
    """
    if not isinstance(layer, LAYERS):
        names = ", ".join(kind.__name__ for kind in LAYERS)
        raise TypeError(f"cannot normalise the weight of {type(layer).__name__}: expected one of {names}")
    return 1 if isinstance(layer, TRANSPOSED) else 0


def unfold_weight(weight: Tensor, *, dim: int = 0) -> Tensor:
    """Return a layer's weight as the matrix that Miyato et al. normalise, ``(out, in*kh*kw)``.

    Args:
        weight: The weight, two or more dimensions.
        dim: Dimension that becomes the rows, see :func:`output_dimension`.
    """
    return weight.movedim(dim, 0).flatten(1)
