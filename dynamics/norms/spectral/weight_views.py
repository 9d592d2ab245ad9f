"""Views of a weight, u and v in the shapes of the power iteration, made once a weight and not once a forward."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dynamics.norms.weight_matrix import unfold_weight


class WeightViews:
    """A weight as a matrix, with its singular vectors in the order of the matrix.

    The matrix is a view where it can be: a channels-last weight, ``(out, in, kh, kw)``, is viewed as
    ``(out, kh*kw*in)``, and v, whose buffer has the order ``(in, kh, kw)``, is copied into that order, not the weight.

    Args:
        weight: The weight, two or more dimensions.
        u: Left singular vector, ``(out,)``.
        v: Right singular vector, ``(weight.numel() / out,)``, in the order of a contiguous weight.
        dim: The weight's dimension of output channels.

    Attributes:
        matrix: The weight, ``(out, weight.numel() / out)``.
        u: u itself.
        v: v as a view whose elements, in their order, are those of the matrix's columns.
        shaped_v: v in the shape that :meth:`shape` gives it.
    """

    def __init__(self, weight: Tensor, u: Tensor, v: Tensor, *, dim: int) -> None:
        self._made_of = weight, u, v
        self._places = _place(weight), _place(v)
        # Through .data: a view of the parameter or buffer itself would forbid torch to swap it for another.
        values, v_values = (weight.data, v.data) if self._places[0] else (weight, v)
        reordered = dim == 0 and not weight.is_contiguous()
        self.matrix = values.movedim(1, -1).flatten(1) if reordered else unfold_weight(values, dim=dim)
        after = weight.shape[dim + 1 :]
        self._u_shape, self._v_shape = (-1, *(1 for _ in after)), (*weight.shape[:dim], 1, *after)
        self._kernel_first = (*after[1:], after[0]) if reordered else None
        self.u, self.shaped_v = u, v_values.view(after if reordered else self._v_shape)
        self.v = self.shaped_v.movedim(0, -1) if reordered else v_values

    def holds(self, weight: Tensor, u: Tensor, v: Tensor) -> bool:
        """Return whether the views are of these tensors, at the place in memory where these lie now.

        ``.to()``, and every assignment to ``.data``, gives the same tensor another place or another layout.
        """
        mine = self._made_of
        same = weight is mine[0] and u is mine[1] and v is mine[2]
        return same and (_place(weight), _place(v)) == self._places

    def follows_weight(self) -> bool:
        """Return whether the matrix is a view of a parameter, so that it holds in the next forward too.

        The matrix of a transposed convolution is a copy. A weight that a tracer or torch.func passes is gone by then.
        """
        place = self._places[0]
        return place is not None and self.matrix.data_ptr() == place[0]

    def shape(self, u: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Return views of u and of v, in the order of the matrix, whose product is ``u v^T`` in the weight's shape."""
        shaped_u = u.view(self._u_shape)
        if self._kernel_first is None:
            return shaped_u, v.view(self._v_shape)
        return shaped_u, v.view(self._kernel_first).movedim(-1, 0)

    def __reduce__(self) -> tuple[type, tuple[()]]:
        """Copy and pickle as None: a copy of the network makes views of its own weights."""
        return type(None), ()


def _place(tensor: Tensor) -> tuple[int, torch.Size, tuple[int, ...]] | None:
    """Return address, shape and strides of a parameter or buffer; None under a compiler and torch.func."""
    if torch.compiler.is_compiling() or type(tensor) not in (Tensor, nn.Parameter):
        return None
    try:
        return tensor.data_ptr(), tensor.shape, tensor.stride()
    except RuntimeError:  # it has no memory
        return None
