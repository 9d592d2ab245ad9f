"""The variance of each layer's gradient entries, which SN controls according to the paper (section IV.B)."""

from __future__ import annotations

from dataclasses import dataclass

from analysis.plotting.panels.layer_lines import BatchLines


@dataclass(frozen=True, kw_only=True)
class GradientVariance(BatchLines):
    """Variance of the gradient that the optimizer uses, by layer."""

    name = "gradient_variance"
    title = "Variance of the gradient entries of each layer"
    columns = ("grad_var",)
    log = True
