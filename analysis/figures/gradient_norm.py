"""The L2 norm of each layer's gradient."""

from __future__ import annotations

from dataclasses import dataclass

from analysis.plotting.panels.layer_lines import BatchLines


@dataclass(frozen=True, kw_only=True)
class GradientNorm(BatchLines):
    """L2 norm of the gradient that the optimizer uses, by layer."""

    name = "gradient_norm"
    title = "L2 norm of the gradient of each layer"
    columns = ("grad_l2_norm",)
    log = True
