"""Views of a weight, u and v in the shapes of the power iteration, made once for a weight and not in each forward."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dynamics.norms.weight_matrix import unfold_weight


class WeightViews:
    """A weight as a matrix, with its singular vectors in the order of the matrix.

    The matrix is a view if possible. A channels-last weight, ``(out, in, kh, kw)``, is viewed as ``(out, kh*kw*in)``.
    The buffer of v has the order ``(in, kh, kw)``: v is copied into the order of the matrix, the weight is not copied.

    Args:
        weight: The weight, two or more dimensions.
        u: Left singular vector, ``(out,)``.
        v: Right singular vector, ``(weight.numel() / out,)``, in the order of a contiguous weight.
        dim: The weight's dimension of output channels.

    Attributes:
        matrix: The weight, ``(out, weight.numel() / out)``.
        u: u itself.
        v: A view of v whose elements are in the order of the matrix's columns.
        shaped_v: v in the shape that :meth:`shape` returns.
    """

    def __init__(self, weight: Tensor, u: Tensor, v: Tensor, *, dim: int) -> None:
        self._made_of = weight, u, v
        self._places = _place(weight), _place(v)
        # Through .data: torch cannot swap a parameter or buffer for another tensor while a view of it exists.
        values, v_values = (weight.data, v.data) if self._places[0] else (weight, v)
        reordered = dim == 0 and not weight.is_contiguous()
        self.matrix = values.movedim(1, -1).flatten(1) if reordered else unfold_weight(values, dim=dim)
        after = weight.shape[dim + 1 :]
        self._u_shape, self._v_shape = (-1, *(1 for _ in after)), (*weight.shape[:dim], 1, *after)
        self._kernel_first = (*after[1:], after[0]) if reordered else None
        self.u, self.shaped_v = u, v_values.view(after if reordered else self._v_shape)
        self.v = self.shaped_v.movedim(0, -1) if reordered else v_values

    def holds(self, weight: Tensor, u: Tensor, v: Tensor) -> bool:
        """Return whether the views still belong to these tensors, at their present addresses in memory.

        ``.to()`` and every assignment to ``.data`` give the same tensor another address or another layout.
        """
        mine = self._made_of
        same = weight is mine[0] and u is mine[1] and v is mine[2]
        return same and (_place(weight), _place(v)) == self._places

    def follows_weight(self) -> bool:
        """Return whether the matrix is a view of a parameter, so that it is valid in the next forward too.

        The matrix of a transposed convolution is a copy. A weight from a tracer or torch.func lives for one forward.
        """
        place = self._places[0]
        return place is not None and self.matrix.data_ptr() == place[0]

    def shape(self, u: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Return views of u and v whose product is ``u v^T`` in the weight's shape. u and v have the matrix's order."""
        shaped_u = u.view(self._u_shape)
        if self._kernel_first is None:
            return shaped_u, v.view(self._v_shape)
        return shaped_u, v.view(self._kernel_first).movedim(-1, 0)

    def __reduce__(self) -> tuple[type, tuple[()]]:
        """Copy and pickle as None: a copied network makes new views, of its own weights."""
        return type(None), ()


def _place(tensor: Tensor) -> tuple[int, torch.Size, tuple[int, ...]] | None:
    """Return address, shape and strides of a parameter or buffer; None under a compiler or torch.func."""
    if torch.compiler.is_compiling() or type(tensor) not in (Tensor, nn.Parameter):
        return None
    try:
        return tensor.data_ptr(), tensor.shape, tensor.stride()
    except RuntimeError:  # the tensor has no memory
        return None
