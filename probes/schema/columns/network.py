"""Columns of table ``steps`` about the whole network: its bounds, and the loss around it."""

from __future__ import annotations

import pyarrow as pa

from probes.schema.columns.column import Column

_FOLDED = "folded network in evaluation"
_BATCH = "one batch in training mode"
_SANTURKAR = "Santurkar et al. 2018"


def _network(name: str, formula: str, tensor: str, reference: str = "") -> Column:
    return Column(name, "1", formula, tensor, reference, type=pa.float64())


# Trainings that measure the whole network log these columns between epochs. No other run has them.
NETWORK_COLUMNS = (
    _network("spectral_complexity", "R, unfolded matrices, about the first weights; chains alone", _FOLDED, "Eq. 4"),
    _network("margin_bound", "bound of the test error at its best margin; chains alone", _FOLDED, "Eq. 5"),
    _network(
        "lipschitz_bound",
        "product of operator norms along the forward: sums add, concatenations add in squares",
        _FOLDED,
        "Miyato et al. 2018, Eq. 7",
    ),
    _network(
        "unfolded_product", "the same with sigma of the unfolded matrices: no bound", _FOLDED, "the paper's sigma(W)"
    ),
    _network(
        "jacobian_norm", "max over inputs of max_v |J v| / |v|: a lower bound", _FOLDED, "Virmaux and Scaman 2018"
    ),
    _network("jacobian_norm_mean", "mean over inputs of max_v |J v| / |v|", _FOLDED, "Virmaux and Scaman 2018"),
    _network(
        "margin_gradient_norm",
        "max over inputs of |grad (f_y - max_j f_j)|, at most sqrt(2) lipschitz_bound",
        _FOLDED,
        "Tsuzuku et al. 2018",
    ),
    _network("layer_stretch_min", "least over layers of max |W^T d| / |d|, d the margin's gradient", _FOLDED),
    _network("layer_stretch_max", "largest over layers of max |W^T d| / |d|, d the margin's gradient", _FOLDED),
    _network("layer_tightness", "geometric mean over layers of stretch / operator norm", _FOLDED),
    _network("batch_gradient_norm", "|g(w)|", _BATCH),
    _network(
        "loss_along_gradient_min", "least L(w - eta g), 8 eta from 0.005 to 0.64", _BATCH, f"{_SANTURKAR}, Fig. 4a"
    ),
    _network("loss_along_gradient_max", "largest L(w - eta g)", _BATCH, f"{_SANTURKAR}, Fig. 4a"),
    _network("gradient_change_min", "least |g(w - eta g) - g(w)|", _BATCH, f"{_SANTURKAR}, Fig. 4b"),
    _network("gradient_change_max", "largest |g(w - eta g) - g(w)|", _BATCH, f"{_SANTURKAR}, Fig. 4b"),
    _network("effective_smoothness", "max |g(w - eta g) - g(w)| / (eta |g(w)|)", _BATCH, f"{_SANTURKAR}, Fig. 4c"),
    _network("hessian_top_eigenvalue", "top eigenvalue of d2L/dw2, from below by Lanczos", _BATCH, "Pearlmutter 1994"),
    _network(
        "covariate_shift_l2",
        "mean over layers of |G - G'|, G' the layer's gradient after an update of the layers before it",
        _BATCH,
        f"{_SANTURKAR}, definition 2.1",
    ),
    _network("covariate_shift_cosine", "mean over layers of cos(G, G')", _BATCH, f"{_SANTURKAR}, Fig. 2"),
)
