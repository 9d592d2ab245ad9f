"""The root mean square of a layer's input.

For a transformer's norms the input is the residual stream at each depth.
"""

from __future__ import annotations

import torch
from torch import Tensor

from probes.metrics.l2_norm import l2_norms
from probes.metrics.metric import Metric
from probes.metrics.reducer import Reducer
from probes.schema import Column


def reduce_squares(tensor: Tensor, channel_dim: int) -> Tensor:  # noqa: ARG001 - of all entries alike
    """Return ``[n, sum(x^2)]`` in float64; NaN stays NaN."""
    wide = tensor if tensor.dtype in (torch.float32, torch.float64) else tensor.float()
    squares = l2_norms([wide.reshape(-1)]).square()
    return torch.cat([torch.full_like(squares, tensor.numel()), squares])


def merge_squares(vectors: Tensor) -> Tensor:
    """Merge the vectors of :func:`reduce_squares`, ``(parts, 2)``: both numbers add."""
    return vectors.sum(0)


def root_mean_squares(vectors: list[Tensor]) -> Tensor:
    """Return ``sqrt(sum(x^2) / n)``, ``(1, layers)``; no elements: NaN."""
    n, squares = torch.stack(vectors).unbind(1)
    return (squares / n).sqrt().unsqueeze(0)


INPUT_RMS = Metric(
    "input_rms",
    "transformers",
    "input_squares",
    root_mean_squares,
    (Column("input_rms", "1", "sqrt(sum(x^2) / n)", "first tensor that the module is given"),),
    min_steps_between=100,
    reducer=Reducer(reduce_squares, merge_squares, of="input"),
)
