"""Causes of findings, each weighed by the numbers that the tables hold for or against it.

A cause is a few words, a remedy, and a function that looks at the records where a finding begins. To add one, write the
function beside those of its subject here, and name the cause in the file of the finding.
"""

from __future__ import annotations

from probes.schema import LAYERS, STEPS

READS = {
    LAYERS: (
        "weight_l2_norm",
        "weight_nonfinite",
        "bias_mean",
        "bias_var",
        "spectral_norm",
        "effective_rank",
        "update_ratio",
        "grad_l2_norm",
        "activation_mean",
        "activation_var",
        "activation_nonfinite",
        "dead_fraction",
        "feeds_nonlinearity",
        "saturated_fraction",
    ),
    STEPS: ("loss", "lr"),
}
"""The columns that causes are weighed by. What a store lacks speaks neither for a cause nor against it."""
