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
LOOKUPS = (nn.Embedding, nn.EmbeddingBag)
WITH_MATRIX = (*LAYERS, *LOOKUPS, nn.Bilinear)
"""Layers that can have spectral norm. Conversion and folding of networks change only those in ``LAYERS``."""


def output_dimension(layer: nn.Module, *, among: tuple[type[nn.Module], ...] = LAYERS) -> int:
    """Return the dimension of the weight that becomes the rows: 0, but 1 for a transposed convolution.

    The rows are the output channels. For an embedding, ``(num_embeddings, embedding_dim)``, they are its entries.

    Args:
        layer: The layer.
        among: The accepted classes of layers.

    Raises:
        TypeError: The module is of none of these classes.
    """
    if not isinstance(layer, among):
        names = ", ".join(kind.__name__ for kind in among)
        raise TypeError(f"cannot normalise the weight of {type(layer).__name__}: expected one of {names}")
    return 1 if isinstance(layer, TRANSPOSED) else 0


def output_channels(layer: nn.Module) -> int:
    """Return the number of output channels of a linear or convolution layer."""
    return int(layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels)  # type: ignore[arg-type]


def unfold_weight(weight: Tensor, *, dim: int = 0) -> Tensor:
    """Return a layer's weight as the matrix that Miyato et al. normalise, ``(out, in*kh*kw)``.

    Args:
        weight: The weight, two or more dimensions.
        dim: Dimension that becomes the rows, see :func:`output_dimension`.
    """
    return weight.movedim(dim, 0).flatten(1)
