"""Finding "NaN": NaN or infinite entries of a weight, activation or gradient, or a NaN or infinite loss."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from analysis.findings.causes.nonfinite import OF_GRADIENTS, OF_OUTPUTS, OF_THE_LOSS, OF_WEIGHTS
from analysis.findings.finding import GRAVE, WHOLE_RUN, Evidence, Finding
from analysis.findings.run_records import RunRecords
from analysis.findings.thresholds import Thresholds
from probes.schema import LAYERS, STEPS

_KIND, _LOSS = "NaN", "loss"
_CAUSES = {  # in the order of a step: a NaN in the weight makes the activation NaN, which makes the gradient NaN
    "weight_nonfinite": ("weight", OF_WEIGHTS),
    "activation_nonfinite": ("activation", OF_OUTPUTS),
    "grad_nonfinite": ("gradient", OF_GRADIENTS),
}
_REMEDY = (
    "look at the input and the loss of this step; then lower the learning rate, clip gradients, add an epsilon where "
    "the network divides or takes roots, or run this part in float32; torch.autograd.detect_anomaly names the operation"
)


def nonfinite_values(run: RunRecords, limits: Thresholds) -> Iterator[Evidence]:  # noqa: ARG001
    """Yield the layers with NaN or infinite entries, and the loss if it is NaN or infinite in any split.

    The number is the count of such entries, or the loss. If several tensors have such entries, the tensor that had them
    first is named. If they had them at the same step, the tensor that is computed first is named.
    """
    matrices = {column: m for column in _CAUSES if (m := run.whole(column)) is not None}
    broken = {column: matrix > 0 for column, matrix in matrices.items()}
    if broken and (where := np.logical_or.reduce(list(broken.values()))).any():
        first = int(where.any(axis=1).argmax())
        column = next(name for name, mask in broken.items() if mask[first].any())
        yield _entries(run, where, matrices[column], column, np.flatnonzero(broken[column][first]))
    if (logged := run.logged(_LOSS, split=None)) is not None:
        steps, losses = logged
        yield Evidence(
            ~np.isfinite(losses)[:, None],
            steps,
            WHOLE_RUN,
            losses[:, None],
            0.0,
            _LOSS,
            GRAVE,
            "the loss is {value}",
            OF_THE_LOSS,
            _REMEDY,
        )


def _entries(run: RunRecords, where: np.ndarray, counts: np.ndarray, column: str, hit: np.ndarray) -> Evidence:
    tensor, cause = _CAUSES[column]
    text = f"{{value:.0f}} entries of the {tensor} are NaN or infinite"
    if column == "grad_nonfinite":  # the backward pass runs from the output: the origin is the last such layer
        nearest = run.layers[hit[-1]].replace("{", "{{").replace("}", "}}")
        text += f"; of the layers with such a gradient, {nearest} is nearest to the loss"
    return Evidence(where, run.steps, run.layers, counts, 0.0, column, GRAVE, text, cause, _REMEDY, int(hit[0]))


FINDING = Finding(_KIND, {LAYERS: tuple(_CAUSES), STEPS: (_LOSS,)}, nonfinite_values)
