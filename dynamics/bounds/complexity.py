"""Products of layer norms, the spectral complexity of Eq. 4 and the bound of Theorem 1."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dynamics.norms.surgery.deparametrize import quiet_weight
from dynamics.norms.weight_matrix import LAYERS, output_dimension, unfold_weight


def spectral_norms(weights: Sequence[Tensor]) -> Tensor:
    """Return the largest singular value of each matrix, ``(layers,)``, float64; NaN for a matrix with a NaN."""
    return torch.stack([_singular_values(W)[0] for W in weights])


def norm_product(norms: Tensor) -> Tensor:
    """Return the product of layer norms, float64; 1 for no layers.

    The product of operator norms bounds the Lipschitz constant of layers in a chain, if the activations between them
    have slopes of at most 1. :func:`~dynamics.bounds.lipschitz.lipschitz_bound` bounds whole networks. The product of
    the spectral norms of unfolded matrices is the paper's number. It is no bound: a convolution's operator norm can
    exceed the spectral norm of its matrix.

    Source: Miyato et al. 2018, Eq. 7.
    """
    return norms.to(torch.float64).prod()


def spectral_complexity(weights: Sequence[Tensor], references: Sequence[Tensor] | None = None) -> Tensor:
    """Return R, Eq. 4: ``prod_k sigma(W_k) * (sum_k (|W_k^T - M_k^T|_{2,1} / sigma(W_k))^(2/3))^(3/2)``.

    ``|A^T|_{2,1}`` is the sum of the Euclidean lengths of the rows of A; a row is an output unit. The paper does not
    define its phi and cites Bartlett et al. This formula is their Eq. 1.2 for activations of slope at most 1.

    Args:
        weights: Matrices ``(out, in)``; for a convolution the unfolded matrix, as in the paper.
        references: M_k, of the same shapes: the weights at initialisation, or zeros when None.

    Returns:
        R, a float64 scalar; 0 if a weight is all zeros or there are no weights, NaN if a weight has a NaN.

    Raises:
        ValueError: The number or the shapes of the references differ from those of the weights.

    Source: the paper's Eq. 4; Bartlett, Foster and Telgarsky 2017, Eq. 1.2.
    """
    references = [torch.zeros_like(W) for W in weights] if references is None else references
    shapes, expected = [tuple(M.shape) for M in references], [tuple(W.shape) for W in weights]
    if shapes != expected:
        raise ValueError(f"reference matrices: expected the shapes of the weights, {expected}, got {shapes}")
    if not weights:
        return torch.zeros((), dtype=torch.float64)
    sigma = spectral_norms(weights)
    distances = torch.stack([_row_lengths(W.double() - M.double()) for W, M in zip(weights, references, strict=True)])
    if bool((sigma == 0).any()):
        return torch.zeros((), dtype=torch.float64)
    return norm_product(sigma) * (distances / sigma).pow(2 / 3).sum().pow(3 / 2)


def margin_bound(
    complexity: float,
    *,
    margin: float,
    input_norm: float,
    samples: int,
    width: int,
    ramp_loss: float,
    delta: float = 0.05,
) -> float:
    """Return Theorem 1 as a number: an upper bound of the test error that holds with probability ``1 - delta``.

    ``ramp_loss + |X|_F R / (gamma n) ln(W) + sqrt(ln(1/delta) / n)``: Bartlett et al.'s Theorem 1.1, with 1 in place of
    the constant and the logarithms that its O leaves open. Use it to compare networks and steps; its absolute size has
    no meaning.

    Args:
        complexity: R, :func:`spectral_complexity`.
        margin: gamma, positive: the lead over every other class that an input needs to count as right in ``ramp_loss``.
        input_norm: ``|X|_F``, the square root of the sum of squares of all training inputs.
        samples: n.
        width: W, the largest number of units in a layer, 2 or more.
        ramp_loss: Share of training inputs whose right class does not lead by the margin, 0 to 1.
        delta: Probability that the bound fails, between 0 and 1.

    Returns:
        The bound; a value above 1 restricts nothing. NaN if ``complexity``, ``input_norm`` or ``ramp_loss`` is NaN.

    Raises:
        ValueError: margin, samples, width or delta is out of its range.

    Source: the paper's Theorem 1 (Eq. 5); Bartlett, Foster and Telgarsky 2017, Theorem 1.1.
    """
    if not margin > 0 or samples < 1 or width < 2 or not 0 < delta < 1:
        raise ValueError(
            "margin_bound: expected margin > 0, samples >= 1, width >= 2 and 0 < delta < 1, got "
            f"margin={margin}, samples={samples}, width={width}, delta={delta}"
        )
    complexity_term = input_norm * complexity / (margin * samples) * math.log(width)
    return ramp_loss + complexity_term + math.sqrt(math.log(1 / delta) / samples)


def margin_bound_of(
    logits: Tensor,
    labels: Tensor,
    *,
    complexity: float,
    width: int,
    input_norm: float,
    samples: int | None = None,
) -> float:
    """Return Theorem 1's bound for a network at one step, at the margin that makes it smallest.

    The margin is chosen among the training inputs' own margins; delta is 0.05.
    :class:`dynamics.classifier.measures.margins.MarginBound` records the bound along a run.

    Args:
        logits: Logits of all training inputs or of a fair sample, ``(m, classes)``, two classes or more.
        labels: Classes of these inputs, ``(m,)``.
        complexity: R, :func:`spectral_complexity`.
        width: W, the largest number of units in a layer, 2 or more.
        input_norm: The square root of the sum of squares of all training inputs.
        samples: n, the number of training inputs; by default m.

    Returns:
        The bound, float; infinity if no input is classified right, NaN if R is NaN.

    Raises:
        ValueError: See :func:`margin_bound`.

    Source: the paper's Theorem 1.
    """
    right = logits.gather(1, labels[:, None]).squeeze(1)
    others = logits.scatter(1, labels[:, None], -torch.inf).amax(1)
    margins = (right - others).double()
    candidates = margins[margins > 0].unique()[:: max(1, len(margins) // 100)]
    bounds = [
        margin_bound(
            complexity,
            margin=float(margin),
            input_norm=input_norm,
            samples=len(margins) if samples is None else samples,
            width=width,
            ramp_loss=float((margins <= margin).double().mean()),
        )
        for margin in candidates
    ]
    return math.nan if math.isnan(complexity) else min(bounds, default=math.inf)


def layer_matrices(model: nn.Module) -> dict[str, Tensor]:
    """Return a copy of each linear and convolution layer's weight in evaluation, unfolded, by the layer's name.

    No power iteration runs, and every module keeps its train or eval mode.
    """
    matrices = {}
    for name, layer in model.named_modules():
        if isinstance(layer, LAYERS):
            matrices[name] = unfold_weight(quiet_weight(layer), dim=output_dimension(layer))
    return matrices


def _singular_values(W: Tensor) -> Tensor:
    # svdvals raises on NaN and infinity. The result for a diverged weight is NaN, not an exception.
    if not bool(W.isfinite().all()):
        return W.new_full((1,), torch.nan, dtype=torch.float64)
    return torch.linalg.svdvals(W.double())


def _row_lengths(A: Tensor) -> Tensor:
    return torch.linalg.vector_norm(A, dim=1).sum()
