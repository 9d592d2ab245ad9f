"""Spectral normalisation of a weight: W / sigma(W), with the gradient through sigma (Eq. 2, 8, 9)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

from dynamics.norms import torch_internals
from dynamics.norms.functional_transforms import needs_plain_operations, write
from dynamics.norms.norm import Norm
from dynamics.norms.spectral.older_checkpoints import rename_older_tensors
from dynamics.norms.spectral.plain_division import divide_plainly, iterate_plainly
from dynamics.norms.spectral.power_iteration import EPS, iterate, iterate_all, iterate_right, multiply
from dynamics.norms.spectral.precomputed_weight import PrecomputedWeight
from dynamics.norms.spectral.weight_views import WeightViews
from dynamics.norms.weight_matrix import LOOKUPS, WITH_MATRIX, output_dimension, unfold_weight

FULL_PRECISION = (torch.float32, torch.float64)


class _Divide(torch.autograd.Function):
    """``W -> W / sigma`` of several weights, whose backward knows that sigma = u^T W v (Eq. 9).

    The gradient is ``(G - <G, W/sigma> u v^T) / sigma``. u and v are shaped so that their product has the shape of W.
    The sigmas, each at least ``eps``, are returned after the weights: a second derivative reaches W through sigma.
    """

    @staticmethod
    def forward(
        ctx: Any, eps: float, us: list[Tensor], vs: list[Tensor], sigmas: list[Tensor], *Ws: Tensor
    ) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)
        sigmas = torch_internals.clamp_min(sigmas, eps)
        quotients = torch_internals.divide(Ws, sigmas)
        # Division loses the channels-last strides of a one-channel weight. The network's outputs would lose them too.
        W_hats = [
            Q if Q.stride() == W.stride() else torch.empty_like(W).copy_(Q) for Q, W in zip(quotients, Ws, strict=True)
        ]
        ctx.us, ctx.vs = us, vs
        ctx.save_for_backward(*W_hats, *sigmas)
        return *W_hats, *sigmas

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        us, vs, count = ctx.us, ctx.vs, len(ctx.us)
        saved = ctx.saved_tensors  # read once: an activation checkpoint recomputes at the first read, refuses a second
        W_hats, sigmas = saved[:count], saved[count:]
        found: list[Tensor | None] = [None] * count
        reached = [i for i, G in enumerate(grads[:count]) if G is not None]
        if reached:
            # The gradient of an embedding may be sparse. The gradient through sigma is dense.
            Gs = [G.to_dense() if G.is_sparse else G for G in (cast(Tensor, grads[i]) for i in reached)]
            pull = _pull_back_batched if any(map(torch_internals.is_batched, Gs)) else _pull_back
            of_reached = ([kept[i] for i in reached] for kept in (W_hats, sigmas, us, vs))
            for i, grad in zip(reached, pull(Gs, *of_reached), strict=True):
                found[i] = grad
        for i, g_sigma in enumerate(grads[count:]):  # gradients of sigma, from a second derivative
            if g_sigma is not None:
                so_far, through_sigma = found[i], us[i] * g_sigma * vs[i]
                found[i] = through_sigma if so_far is None else so_far + through_sigma
        return None, None, None, None, *found


def _pull_back(
    Gs: list[Tensor], W_hats: list[Tensor], sigmas: list[Tensor], us: list[Tensor], vs: list[Tensor]
) -> list[Tensor]:
    """Return each ``(G - <G, W/sigma> u v^T) / sigma``."""
    products = [inner_product(G, W) for G, W in zip(Gs, W_hats, strict=True)]
    across = torch_internals.subtract_products(Gs, torch_internals.multiply(us, products), vs)
    torch_internals.divide_(across, sigmas)
    return across


def _pull_back_batched(
    Gs: list[Tensor], W_hats: list[Tensor], sigmas: list[Tensor], us: list[Tensor], vs: list[Tensor]
) -> list[Tensor]:
    """Return the gradients of :func:`_pull_back` for batched gradients, which have no operations on lists."""
    every = zip(Gs, W_hats, sigmas, us, vs, strict=True)
    return [(G - (G * W).sum() * u * v) / sigma for G, W, sigma, u, v in every]


def inner_product(G: Tensor, W: Tensor) -> Tensor:
    """Return the sum of products. No copy is made if it needs no derivative and both have the same strides."""
    if torch.compiler.is_compiling() or torch.is_grad_enabled() or G.stride() != W.stride():
        return (G * W).sum()
    flat = (W.numel(),), (1,)  # a weight fills its storage, so both tensors have their elements in the same order
    return torch.dot(G.as_strided(*flat), W.as_strided(*flat))


class SpectralNorm(nn.Module):
    """Parametrization ``W -> W / sigma(W)``, sigma estimated by power iteration.

    A training forward makes ``n_power_iterations`` of ``u <- Wv / |Wv|``, ``v <- W^T u / |W^T u|``. Afterwards
    sigma = u^T W v = |W^T u|: one product with W fewer than the textbook form. Evaluation leaves u and v alone and uses
    sigma = u^T W v. The second forward of activation checkpointing leaves u and v alone too. It uses the weight of the
    first forward, unless another forward came in between. Numbers, buffers and their names are those of
    ``torch.nn.utils.parametrizations.spectral_norm``, so each loads the other's checkpoints. A weight whose sigma is
    below ``eps`` is divided by ``eps``. An all-zero weight stays zero; torch's own spectral norm gives NaN.

    A complex weight has complex u and v, and sigma = Re(u^H W v). A weight in half precision is divided in float32; a
    float16 weight by at least 1e-3. Under ``torch.func``, forward-mode derivatives and ``torch.jit.trace`` plain
    operations give the same numbers, and a training forward moves u and v too. A ``vmap`` over weights needs stacked u
    and v (``torch.func.stack_module_state``) or evaluation.

    Args:
        weight: The weight, two or more dimensions.
        n_power_iterations: Power iterations a training forward, at least 1.
        dim: Dimension of the output channels, see :func:`output_dimension`.
        eps: Smallest norm divided by.

    Raises:
        ValueError: The weight is a vector, or ``n_power_iterations`` is below 1.

    Source: Miyato et al. 2018, algorithm 1; the paper's Eq. 2, 6, 8 and 9.
    """

    _u: Tensor
    _v: Tensor

    def __init__(self, weight: Tensor, *, n_power_iterations: int = 1, dim: int = 0, eps: float = EPS) -> None:
        super().__init__()
        if weight.ndim < 2:
            raise ValueError(f"spectral norm: expected a weight of two or more dimensions, got {tuple(weight.shape)}")
        if n_power_iterations < 1:
            raise ValueError(f"n_power_iterations: expected at least 1, got {n_power_iterations}")
        self.n_power_iterations, self.dim, self.eps = n_power_iterations, dim, eps
        self.precomputed = PrecomputedWeight()  # see dynamics.norms.spectral.precompute
        self._views: WeightViews | None = None
        matrix = unfold_weight(weight.detach(), dim=dim)
        rows, columns = matrix.shape
        # The random numbers are drawn as torch draws them: the same seed gives the same u and v.
        self.register_buffer("_u", F.normalize(matrix.new_empty(rows).normal_(), dim=0, eps=eps))
        self.register_buffer("_v", F.normalize(matrix.new_empty(columns).normal_(), dim=0, eps=eps))
        if weight.dtype in FULL_PRECISION:
            for _ in range(15):
                iterate(matrix, self._u, self._v)
        else:
            self._iterate_plainly(matrix, 15)

    def forward(self, weight: Tensor) -> Tensor:
        """Return W / sigma(W), in the shape and memory format of the weight."""
        precomputed = self.precomputed.take() if self.training else None
        if precomputed is not None:
            return precomputed
        if self.divides_plainly(weight):
            times = 0 if torch_internals.in_backward() or not self.training else self.n_power_iterations
            u, v = self._iterate_plainly(unfold_weight(weight.detach(), dim=self.dim), times)
            return divide_plainly(weight, u, v, dim=self.dim, eps=self.eps)
        return divide_by_sigma([self], [weight])[0]

    @staticmethod
    def divides_plainly(weight: Tensor) -> bool:
        """Return whether the weight is one that :func:`divide_by_sigma` cannot divide."""
        return weight.dtype not in FULL_PRECISION or needs_plain_operations(weight)

    def _iterate_plainly(self, matrix: Tensor, times: int) -> tuple[Tensor, Tensor]:
        """Return u and v after ``times`` power iterations, in the dtypes of their buffers."""
        u, v = iterate_plainly(matrix, self._u.clone(), self._v.clone(), times)
        u, v = u.to(self._u.dtype), v.to(self._v.dtype)  # evaluation reads the buffers, which keep no more digits
        if times > 0:
            write(self._u, u)
            write(self._v, v)
        return u, v

    def views(self, weight: Tensor) -> WeightViews:
        """Return views of weight, u and v for the power iteration. The last views are reused while they are valid."""
        if torch.compiler.is_compiling():
            return WeightViews(weight, self._u, self._v, dim=self.dim)
        kept = self._views
        if kept is None or not kept.holds(weight, self._u, self._v):
            kept = WeightViews(weight, self._u, self._v, dim=self.dim)
            self._views = kept if kept.follows_weight() else None
        return kept

    def _apply(self, *args: Any, **kwargs: Any) -> SpectralNorm:
        self._views = None  # or it would keep the memory of a weight that moves to another device
        return super()._apply(*args, **kwargs)

    def right_inverse(self, weight: Tensor) -> Tensor:
        """Return the weight to store when a weight is assigned: the assigned weight itself."""
        return weight

    def extra_repr(self) -> str:
        """Return the settings that ``repr`` shows."""
        return f"n_power_iterations={self.n_power_iterations}, dim={self.dim}, eps={self.eps}"


def divide_by_sigma(norms: Sequence[SpectralNorm], weights: Sequence[Tensor]) -> list[Tensor]:
    """Return each W / sigma(W); in training after the norm's power iterations.

    The numbers equal those of one call for each norm. One call for many small weights takes half the time.

    Args:
        norms: Norms that are all in training or all in evaluation, with one ``n_power_iterations`` and ``eps``.
        weights: The weight of each.
    """
    with torch.no_grad():
        views = [norm.views(weight) for norm, weight in zip(norms, weights, strict=True)]
        matrices = [W.matrix for W in views]
        # Copies: the backward of a forward must not use the u and v of the next forward (GAN: D(real) - D(fake)).
        us = torch_internals.multiply([W.u for W in views], 1)
        vs = [W.v.clone(memory_format=torch.contiguous_format).view(-1) for W in views]
        if norms[0].training and torch_internals.in_backward():
            # Activation checkpointing repeats this forward. The last half iteration gives the same sigma again.
            sigmas = iterate_right(matrices, us, vs)
        elif norms[0].training:
            for _ in range(norms[0].n_power_iterations):
                sigmas = iterate_all(matrices, us, vs)
        else:
            sigmas = [torch.dot(u, multiply(W, v)) for u, W, v in zip(us, matrices, vs, strict=True)]
        shaped = [W.shape(u, v) for W, u, v in zip(views, us, vs, strict=True)]
        if norms[0].training:
            found = [*us, *(v for _, v in shaped)]
            torch_internals.copy_([W.u for W in views] + [W.shaped_v for W in views], found)
    us, vs = [u for u, _ in shaped], [v for _, v in shaped]
    return list(_Divide.apply(norms[0].eps, us, vs, sigmas, *weights)[: len(norms)])


def spectral_norm(layer: nn.Module, *, n_power_iterations: int = 1, eps: float = EPS) -> nn.Module:
    """Divide a layer's weight by its spectral norm from now on, and return the layer.

    The layer also loads checkpoints of torch's two spectral norms: the parametrization and the older hook
    (``weight_orig``, ``weight_u``, ``weight_v``). The gradient of a sparse embedding becomes dense, because sigma
    depends on every entry.

    Args:
        layer: A linear, bilinear, convolution or embedding layer.
        n_power_iterations: Power iterations a training forward, at least 1.
        eps: Smallest norm divided by.

    Raises:
        TypeError: The module is none of these.
        ValueError: A lazy layer that has no weight yet, or an embedding with ``max_norm``.
    """
    dim = output_dimension(layer, among=WITH_MATRIX)
    weight = cast(Tensor, layer.weight)
    if nn.parameter.is_lazy(weight):
        raise ValueError(f"{type(layer).__name__} has no weight yet: run the model once first")
    if isinstance(layer, LOOKUPS) and layer.max_norm is not None:
        raise ValueError(
            f"{type(layer).__name__} has max_norm={layer.max_norm}: its forward would shorten entries of the weight "
            "after the division. Set max_norm=None."
        )
    norm = SpectralNorm(weight, n_power_iterations=n_power_iterations, dim=dim, eps=eps)
    parametrize.register_parametrization(layer, "weight", norm)
    layer.register_load_state_dict_pre_hook(rename_older_tensors)
    return layer


SPECTRAL_NORM = Norm("sn", source="Miyato et al. 2018; Eq. 2", weight=spectral_norm)
