"""The operator norm of a convolution: the largest factor by which it stretches an input, with stride and padding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from probes.metrics.metric import Metric
from probes.metrics.top_eigenvalue import top_eigenvalue
from probes.metrics.waiting import looks_wait
from probes.schema import Column

_CONVOLUTIONS: dict[int, Callable[..., Tensor]] = {3: F.conv1d, 4: F.conv2d, 5: F.conv3d}
_ITERATIONS = 25
_WARM_ITERATIONS = 14  # from the last record's vector, which a few optimizer steps change little
_MIXED_IN = 0.1  # share of a fixed pseudo-random direction that is added to the last record's vector
_TINY = 1e-300  # 0 / _TINY = 0 when the bidiagonalisation has ended


@dataclass(frozen=True)
class Convolution:
    """A convolution as a linear map of one input of a given shape.

    Attributes:
        weight: Kernel, ``(out, in / groups, *kernel)`` with one to three kernel dimensions.
        input_shape: One input without the batch, ``(in, *spatial)``.
        stride: As in ``torch.nn.functional.conv2d``; likewise ``padding``, ``dilation`` and ``groups``.
        padding: Width of the border.
        dilation: Spacing of the kernel.
        groups: Groups of channels.
        padding_mode: The values in the border: ``zeros``, ``reflect``, ``replicate`` or ``circular``.

    Raises:
        ValueError: The kernel has no or more than three spatial dimensions, or ``input_shape`` does not fit it.
    """

    weight: Tensor
    input_shape: tuple[int, ...]
    stride: int | Sequence[int] = 1
    padding: int | str | Sequence[int] = 0
    dilation: int | Sequence[int] = 1
    groups: int = 1
    padding_mode: str = "zeros"

    def __post_init__(self) -> None:
        shape = tuple(self.weight.shape)
        if len(shape) not in _CONVOLUTIONS:
            raise ValueError(f"weight of shape {shape}: expected (out, in, *kernel) with 1 to 3 kernel dimensions.")
        channels = shape[1] * self.groups
        if len(self.input_shape) != len(shape) - 1 or self.input_shape[0] != channels:
            raise ValueError(
                f"input_shape={self.input_shape}: expected (in, *spatial) without the batch, with in = {channels} and"
                f" {len(shape) - 2} spatial sizes for a weight of shape {shape}."
            )

    @property
    def device(self) -> torch.device:
        """The device of the weight."""
        return self.weight.device

    def __call__(self, x: Tensor) -> Tensor:
        """Return the convolution of one input, ``(1, in, *spatial) -> (1, out, *spatial)``."""
        convolve, padding = _CONVOLUTIONS[self.weight.ndim], self.padding
        if self.padding_mode != "zeros":
            x, padding = F.pad(x, self._border(), mode=self.padding_mode), 0
        return convolve(x, self.weight, None, self.stride, padding, self.dilation, self.groups)

    def _border(self) -> list[int]:
        """Return the border's width at both ends of each spatial dimension, the last one first, as F.pad expects it."""
        kernel = self.weight.shape[2:]
        if isinstance(self.padding, str):
            dilations = (self.dilation,) * len(kernel) if isinstance(self.dilation, int) else self.dilation
            spans = [d * (k - 1) if self.padding == "same" else 0 for d, k in zip(dilations, kernel, strict=True)]
            ends = [(span // 2, span - span // 2) for span in spans]
        else:
            widths = (self.padding,) * len(kernel) if isinstance(self.padding, int) else self.padding
            ends = [(width, width) for width in widths]
        return [width for pair in reversed(ends) for width in pair]


@dataclass(frozen=True)
class Matrices:
    """A stack of matrices as one linear map.

    Each matrix is a group of the map.

    Attributes:
        weight: The matrices, ``(E, rows, columns)``.
    """

    weight: Tensor

    @property
    def groups(self) -> int:
        """The number of matrices."""
        return len(self.weight)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """One vector for each matrix, ``(E, columns)``."""
        return self.weight.shape[0], self.weight.shape[2]

    def __call__(self, x: Tensor) -> Tensor:
        """Return each matrix times its vector, ``(1, E, columns) -> (1, E, rows)``."""
        return torch.bmm(self.weight, x[0].unsqueeze(2)).squeeze(2).unsqueeze(0)


LinearMap = Convolution | Matrices


def conv_operator_norm(
    weight: Tensor,
    *,
    stride: int | Sequence[int] = 1,
    padding: int | str | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    padding_mode: str = "zeros",
    input_shape: Sequence[int],
    iterations: int = _ITERATIONS,
    start: Tensor | None = None,
) -> Tensor:
    """Return ``max |conv(x)| / |x|`` over inputs of one shape, padding and stride included: float64.

    This is not the unfolded matrix's spectral norm, which is only 0.4 to 0.7 of it for ordinary kernels. The method
    approaches the norm from below: 25 iterations from a random start give about 0.999 of it. A weight with a NaN or an
    infinity gives NaN. The arguments are those of :class:`Convolution` and :func:`largest_singular_value`.

    Raises:
        ValueError: ``input_shape`` does not fit the weight, or the weight belongs to no convolution.

    Source: Sedghi, Gupta and Long 2019 (what the norm is); Golub and Kahan 1965 (the method).
    """
    operator = Convolution(weight, tuple(input_shape), stride, padding, dilation, groups, padding_mode)
    return largest_singular_value(operator, iterations=iterations, start=start)[0]


def largest_singular_value(
    operator: Convolution, *, iterations: int = _ITERATIONS, start: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return the largest singular value (float64) and its right singular vector, of ``input_shape``.

    Golub-Kahan-Lanczos: ``A V = U B`` with orthonormal columns and ``B`` upper bidiagonal. The largest singular value
    of ``B`` grows towards that of ``A``. The adjoint is the convolution's own backward. No random number generator
    changes its state. The host does not wait for CUDA.

    The groups of a grouped convolution are separate operators. Each has its own ``B``, and the same calls compute all.
    The returned value is the largest of all groups. The returned vector holds the unit vectors of all groups, side by
    side.

    Args:
        operator: The convolution.
        iterations: Steps, each one convolution and one adjoint; 1 or more.
        start: Input to start from, of ``input_shape``, for example the vector of an earlier call. The default is fixed
            pseudo-random numbers.
    """
    eigenvalues, found = _of_groups(operator, iterations, start)
    return eigenvalues.max().sqrt(), _unit(found, operator.groups)[0].reshape(operator.input_shape)


def largest_singular_values(operator: LinearMap, *, iterations: int = _ITERATIONS) -> Tensor:
    """Return the largest singular value of each group of an operator, ``(groups,)`` float64.

    The method and its error are those of :func:`largest_singular_value`.
    """
    return _of_groups(operator, iterations, None)[0].sqrt()


def _of_groups(operator: LinearMap, iterations: int, start: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return each group's largest eigenvalue of ``A^T A``, ``(groups,)``, and the eigenvectors, ``(groups, n)``."""
    weight = operator.weight.detach()
    operator = replace(operator, weight=weight)
    with torch.no_grad():
        v = (_pseudo_random(operator) if start is None else start.to(weight, non_blocking=True)).unsqueeze(0)
        alphas, betas, right = _bidiagonalise(operator, _adjoint(operator), v, iterations)
        eigenvalues, directions = _top_eigenvectors(_tridiagonal(alphas, betas))
        vectors = torch.stack([v.reshape(operator.groups, -1) for v in right])  # (iterations, groups, elements)
        return eigenvalues, torch.einsum("gk,kgn->gn", directions.to(weight.dtype), vectors)


def _top_eigenvectors(matrices: Tensor) -> tuple[Tensor, Tensor]:
    """Return the largest eigenvalue of each matrix, ``(groups, n, n)``, and a unit eigenvector, ``(groups, n)``."""
    if looks_wait(matrices):  # as LAPACK does
        eigenvalues, projectors = top_eigenvalue(matrices)
        best = projectors.diagonal(dim1=1, dim2=2).argmax(dim=1)
        columns = projectors.gather(2, best[:, None, None].expand(-1, matrices.shape[1], 1)).squeeze(2)
        return eigenvalues, columns / torch.linalg.vector_norm(columns, dim=1, keepdim=True).clamp_min(_TINY)
    finite = matrices.diagonal(dim1=1, dim2=2).sum(1).isfinite()  # LAPACK raises on a NaN
    eigenvalues, vectors = torch.linalg.eigh(torch.where(finite[:, None, None], matrices, 0.0))
    return torch.where(finite, eigenvalues[:, -1].clamp_min(0), torch.nan), vectors[:, :, -1]


def _pseudo_random(operator: LinearMap) -> Tensor:
    weight = operator.weight
    generator = torch.Generator(device=weight.device).manual_seed(0)
    return torch.randn(operator.input_shape, generator=generator, dtype=weight.dtype, device=weight.device)


def _adjoint(operator: LinearMap) -> Callable[[Tensor], Tensor]:
    with torch.enable_grad():
        x = operator.weight.new_zeros(1, *operator.input_shape).requires_grad_()
        y = operator(x)
    return lambda u: torch.autograd.grad(y, x, u, retain_graph=True)[0]


def _bidiagonalise(
    operator: LinearMap, adjoint: Callable[[Tensor], Tensor], v: Tensor, iterations: int
) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """Return the diagonal and upper diagonal of B, a number for each group, and the right vectors."""
    groups = operator.groups
    v = _unit(v, groups)[0]
    u, alpha = _unit(operator(v), groups)
    alphas, betas, right = [alpha], [], [v]
    for _ in range(iterations - 1):
        v, beta = _unit(adjoint(u).sub_(_times(v, alpha)), groups)
        u, alpha = _unit(operator(v).sub_(_times(u, beta)), groups)
        alphas.append(alpha)
        betas.append(beta)
        right.append(v)
    return alphas, betas, right


def _unit(x: Tensor, groups: int) -> tuple[Tensor, Tensor]:
    """Return the unit vector of each group and its length, ``(groups,)`` float64."""
    lengths = torch.linalg.vector_norm(x.reshape(groups, -1), dim=1, dtype=torch.float64)
    return _times(x, (1 / lengths.clamp_min(_TINY)).clamp_max(torch.finfo(x.dtype).max)), lengths


def _times(x: Tensor, factors: Tensor) -> Tensor:
    """Return a vector with each group multiplied by its factor."""
    return (x.reshape(len(factors), -1) * factors.to(x.dtype)[:, None]).reshape(x.shape)


def _tridiagonal(alphas: list[Tensor], betas: list[Tensor]) -> Tensor:
    """Return ``B^T B`` of each group, ``(groups, iterations, iterations)``."""
    bidiagonal = torch.diag_embed(torch.stack(alphas, dim=1))
    if betas:
        bidiagonal = bidiagonal + torch.diag_embed(torch.stack(betas, dim=1), 1)
    return bidiagonal.mT @ bidiagonal


def operator_norms(operators: list[Convolution], starts: list[Tensor | None]) -> tuple[Tensor, list[Tensor]]:
    """Return each convolution's operator norm, ``(1, layers)``, and the vectors to start from at the next record.

    The first record takes 25 iterations. Later records start from the last vector and take 14. The same pseudo-random
    direction is added to that vector at each record. Without this direction, the iteration would stay in an invariant
    subspace and miss a larger value outside of it. A circular convolution takes 25 at each record, because all its
    Fourier modes are invariant.
    """
    found = []
    for operator, start in zip(operators, starts, strict=True):
        if start is None or tuple(start.shape) != operator.input_shape:
            found.append(largest_singular_value(operator))
        else:
            iterations = _ITERATIONS if operator.padding_mode == "circular" else _WARM_ITERATIONS
            found.append(largest_singular_value(operator, iterations=iterations, start=_mixed(start, operator)))
    return torch.stack([value for value, _ in found]).unsqueeze(0), [vector for _, vector in found]


def _mixed(start: Tensor, operator: Convolution) -> Tensor:
    usable = start.nan_to_num(nan=1.0, posinf=1.0, neginf=-1.0)  # a layer that was NaN may have recovered
    last = _unit(usable.to(operator.weight.detach(), non_blocking=True), operator.groups)[0]
    return last + _MIXED_IN * _unit(_pseudo_random(operator), operator.groups)[0]


OPERATOR_NORM = Metric(
    "operator_norm",
    "operator_norm",
    "convolution",
    operator_norms,
    (
        Column(
            "operator_norm",
            "1",
            "max |conv(x)| / |x|, from below by Golub-Kahan-Lanczos",
            "effective weight as a convolution of the layer's input shape",
            "Sedghi et al. 2019; Golub and Kahan 1965",
        ),
    ),
    min_steps_between=200,
    keeps_state=True,
)
