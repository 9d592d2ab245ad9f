"""The values of one metric at one step."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from probes.metrics.metric import Metric


@dataclass(frozen=True)
class Result:
    """The values of one metric at one step, for some layers.

    Attributes:
        metric: The metric.
        step: The step.
        indices: The layers, by index.
        values: ``(rows, layers)``: a column of the tensor for each layer.
        finished: Whether the metric's last part, which is computed on the host, is done.
    """

    metric: Metric
    step: int
    indices: list[int]
    values: Tensor
    finished: bool = False
