"""Causes of findings, each weighed by the numbers that the tables hold for or against it.

A cause has a text, a remedy, and a function that looks at the records where a finding begins. To add a cause, write its
function in the file of its subject in this folder, and name the cause in the file of the finding.
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
"""The columns that causes are weighed by. A column that a store lacks speaks neither for a cause nor against it."""
