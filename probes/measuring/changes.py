"""The sources of updates and gradients as matrices, and the sources read before an update for use after it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor

from probes.measuring.observation import Observation, Reading, Source, read_each
from probes.metrics import Metric
from probes.metrics.l2_norm import l2_norms
from probes.metrics.matrix_views import matrices, rms_factor
from probes.model.layer import raw_parameter
from probes.model.module_kinds import CONVOLUTIONS

KEPT: Mapping[str, tuple[str, ...]] = {
    "first_moment": (),
    "second_moment": (),
    "moments": (),
    "step_and_gradient": ("before", "gradient_length"),
}
"""By source of a metric measured after the update: the sources to read before it.

Any other source is itself read before.
"""


def needed_before(metrics: Sequence[Metric]) -> set[str]:
    """Return the sources to read before the update for metrics that are measured after it."""
    return {source for metric in metrics if metric.after_update for source in KEPT.get(metric.reads, ("before",))}


def _updates(observation: Observation) -> Reading:
    before, after = observation.read("before"), observation.read("after")
    moved = after.by_layer()
    pairs = {index: (old, moved[index]) for index, old in before.by_layer().items() if index in moved}
    return Reading(list(pairs), list(pairs.values()), {**before.failures, **after.failures})


def _gradient_lengths(observation: Observation) -> Reading:
    gradients = observation.read("gradient")
    return read_each(gradients.by_layer(), lambda _, gradient: l2_norms([gradient])[0], failures=gradients.failures)


def _steps_and_gradients(observation: Observation) -> Reading:
    """Return for each layer the parameter before and after the update, and the length of the gradient."""
    updates, lengths = observation.read("update"), observation.read("gradient_length")
    gradients = lengths.by_layer()
    found = {index: (*pair, gradients[index]) for index, pair in updates.by_layer().items() if index in gradients}
    return Reading(list(found), list(found.values()), {**updates.failures, **lengths.failures})


def _update_matrices(observation: Observation) -> Reading:
    updates = observation.read("update")
    return read_each(
        updates.by_layer(),
        lambda index, pair: _as_matrices(observation, index, pair[1] - pair[0]),
        failures=updates.failures,
    )


def _gradient_matrices(observation: Observation) -> Reading:
    gradients = observation.read("gradient")
    return read_each(
        gradients.by_layer(),
        lambda index, gradient: _as_matrices(observation, index, gradient),
        failures=gradients.failures,
    )


def _as_matrices(observation: Observation, index: int, tensor: Tensor) -> Tensor | None:
    """Return a tensor of the parameter's shape in the form of the weight's matrices; None for vectors or complex."""
    layer = observation.layers[index]
    parameter = raw_parameter(layer)
    if parameter is None or parameter.is_complex() or tensor.ndim < 2 or not tensor.numel():
        return None
    return matrices(tensor, convolution=isinstance(layer.module, CONVOLUTIONS), transposed=layer.transposed)


def _scaled_spectra(solved: str, spectra: str) -> Source:
    """Return the source of pairs: a spectrum and ``sqrt(columns / rows)`` of its matrix."""

    def read(observation: Observation) -> Reading:
        stacks, found = observation.read(solved).by_layer(), observation.read(spectra)
        return read_each(
            found.by_layer(),
            lambda index, spectrum: (spectrum, _factor(stacks[index], spectrum)),
            failures=found.failures,
        )

    return read


def _factor(stack: Tensor, spectrum: Tensor) -> Tensor:
    factor = torch.tensor(rms_factor(stack), dtype=torch.float64, device="cpu")
    return factor.to(spectrum.device, non_blocking=True)


def _all(source: str) -> Source:
    return lambda observation: observation.read(source)


def _none(_: Observation) -> Reading:
    return Reading([], [])


KINDS = ("", "gradient_", "update_")
"""Prefixes of the sources' names: matrices of weights, of gradients and of updates."""


def turns(solved: Collection[int] | None = None) -> dict[str, Source]:
    """Return the sources of the matrices whose singular values are computed at a step, and of the others.

    Args:
        solved: The layers of the former; None for all.
    """

    def of(source: str, *, wanted: bool) -> Source:
        if solved is None:
            return _all(source) if wanted else _none

        def read(observation: Observation) -> Reading:
            reading = observation.read(source)
            kept = {index: stack for index, stack in reading.by_layer().items() if (index in solved) == wanted}
            return Reading(list(kept), list(kept.values()), reading.failures if wanted else {})

        return read

    found = {}
    for kind in KINDS:
        found[f"{kind}solved_matrices"] = of(f"{kind}matrices", wanted=True)
        found[f"{kind}unsolved_matrices"] = of(f"{kind}matrices", wanted=False)
    return found


CHANGES: Mapping[str, Source] = {
    "update": _updates,
    "gradient_length": _gradient_lengths,
    "step_and_gradient": _steps_and_gradients,
    "update_matrices": _update_matrices,
    "gradient_matrices": _gradient_matrices,
    **{f"{kind}scaled_spectra": _scaled_spectra(f"{kind}solved_matrices", f"{kind}spectra") for kind in KINDS},
    **turns(),
}
"""Sources that follow from parameters before and after an update, and from gradients."""
