"""Hooks on parameters that see each contribution to a gradient, and the gradient before it is clipped."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor
from torch.utils.hooks import RemovableHandle

from probes.gaps import Gaps
from probes.hooks.torch_internals import at_end_of_backward, running_backward
from probes.measuring.observation import Observation, Reading, Source
from probes.metrics.flat import first_entries
from probes.metrics.l2_norm import l2_norms
from probes.model.layer import raw_parameter
from probes.model.parameters import Parameter
from probes.ranks import Ranks

_SAME = 1e-3  # relative difference of the norms of one gradient on two ranks that share it
CARRIED = "carried_gradient"  # a source: 1 for a layer whose gradient was not set to 0 before the step, else 0
_LOOKED_AT = 4096  # entries of such a gradient
MICRO_BATCHES = "micro_batches"  # a source: six numbers for each layer, see GradientHooks.take


class GradientHooks:
    """Hooks on all parameters that measure each backward pass's contribution, and the sum after it.

    Hooks are attached only in measured steps, because each call costs about 6 us in the backward pass. Contributions
    are measured from the second backward pass of a step on: a single contribution is the gradient itself. The sums of
    all parameters are measured in one call at the end of each backward pass, when DDP has averaged them. Sharded
    parameters (FSDP2) get no hooks, so their contributions are not measured.
    """

    def __init__(
        self, parameters: Sequence[Parameter], *, ranks: Ranks, report: Callable[[str, Exception], None]
    ) -> None:
        """Prepare hooks on these parameters.

        They are attached when a step is measured.

        Args:
            parameters: The parameters. A parameter that is frozen at a measured step gets no hook.
            ranks: The ranks whose contributions count.
            report: Called with a description and the exception when something fails; training goes on.
        """
        self._parameters = list(parameters)
        self._ranks = ranks
        self._report = report
        self._measured = self._paused = False
        self._handles: list[RemovableHandle] = []
        self._without_hook = self._parameters
        self._forget()

    def sources(self) -> dict[str, Source]:
        """Return the sources that these hooks offer."""
        return {MICRO_BATCHES: self._read, CARRIED: self._read_carried}

    def start_step(self, *, measured: bool) -> None:
        """Start a step: discard the measurements of the last one, and attach hooks if this one is measured."""
        self._measured, self._paused = measured, False
        self._forget()
        if measured:
            self._without_hook = [one for one in self._without_hook if not self._attach(one)]
        elif self._handles:
            self.remove()

    def pause(self, *, paused: bool) -> None:
        """Ignore backward passes until the next step: later evaluations of a closure are not recorded."""
        self._paused = paused

    def squared_length(self, trained: Sequence[Tensor]) -> Tensor | None:
        """Return ``sum |g|^2`` over these parameters after their last backward pass, before clipping and unscaling.

        None if one of them has a gradient that no hook saw: the parameter is sharded, or the gradient was set by hand.
        """
        self._measure_sums()
        places = self._places()
        wanted = [places.get(id(parameter), -1) for parameter in trained if parameter.grad is not None]
        if not wanted or not all(index in self._whole for index in wanted):
            return None
        device = self._whole[wanted[0]].device
        squares = [_on_device(self._whole[index], device) for index in wanted]
        return torch.stack(squares).sum()

    def _places(self) -> dict[int, int]:
        return {id(one.value): one.index for one in self._parameters}

    def _read(self, observation: Observation) -> Reading:
        places = self._places()
        layers = {index: places.get(id(raw_parameter(layer)), -1) for index, layer in observation.layers.items()}
        gradients = observation.read("gradient")
        taken = self.take({layers[index]: gradient for index, gradient in gradients.by_layer().items()})
        found = {index: taken[layers[index]] for index in gradients.indices if layers[index] in taken}
        return Reading(list(found), list(found.values()), gradients.failures)

    def _read_carried(self, observation: Observation) -> Reading:
        places = self._places()
        layers = {index: places.get(id(raw_parameter(layer)), -1) for index, layer in observation.layers.items()}
        found = {i: self._carried[p] for i, p in layers.items() if p in self._carried and self._ranks.owns(i)}
        return Reading(list(found), list(found.values()))

    def take(self, gradients: Mapping[int, Tensor]) -> dict[int, Tensor]:
        """Return ``[K, N, sum |d_i|^2, |g|^2, |g|^2 as used, n]`` of each parameter that had ``K >= 2`` contributions.

        ``K`` counts the contributions of all ranks, ``N`` for each. ``K`` is NaN if the ranks made different numbers of
        passes, or if they do not share one gradient at the end of the backward pass (a loop that averages by itself).

        Args:
            gradients: The gradients as the optimizer will use them, by parameter.
        """
        self._measure_sums()
        each, whole = self._each, self._whole
        agreed: dict[int, Tensor] = {}
        if self._ranks.count > 1:
            each, agreed = self._summed_over_ranks()
        found = {}
        for index, gradient in gradients.items():
            if index in each and index in whole:
                passes, n = (
                    torch.tensor(float(x), dtype=torch.float64) for x in (self._counts[index], gradient.numel())
                )
                parts = agreed.get(index, passes), passes, each[index], whole[index], _square(gradient), n
                found[index] = torch.stack([_on_device(part, whole[index].device) for part in parts])
        return found

    def remove(self) -> None:
        """Remove the hooks."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._without_hook = self._parameters

    def _attach(self, one: Parameter) -> bool:
        """Attach the hooks to a parameter, unless it is frozen.

        It may be frozen or unfrozen before the next step.
        """
        parameter = one.value
        if parameter is None or not parameter.requires_grad or hasattr(parameter, "full_tensor"):
            return False
        arrive, add = (self._guarded(act, one, parameter) for act in (self._arrive, self._add))
        try:
            self._handles.append(parameter.register_hook(arrive))
            self._handles.append(parameter.register_post_accumulate_grad_hook(add))
        except Exception as failure:
            self._report(f"micro-batch gradient of {one.name!r}", failure)
        return True

    def _forget(self) -> None:
        self._counts: dict[int, int] = {}
        self._carried: dict[int, Tensor] = {}
        self._arriving: dict[int, Tensor] = {}  # |d_i|^2 of contributions that are not added yet
        self._each: dict[int, Tensor] = {}  # sum |d_i|^2 of this rank
        self._whole: dict[int, Tensor] = {}  # |g|^2
        self._grown: dict[Parameter, Tensor] = {}  # gradients with contributions that are not measured yet
        self._measured_after: int | None = None  # the backward pass at whose end they will be measured

    def _guarded(
        self, act: Callable[[Parameter, Tensor, Tensor], None], one: Parameter, parameter: Tensor
    ) -> Callable[[Tensor], None]:
        def hook(given: Tensor) -> None:
            if self._measured and not self._paused and not torch.compiler.is_dynamo_compiling():
                try:
                    act(one, parameter, given)
                except Exception as failure:
                    self._report(f"micro-batch gradient of {one.name!r}", failure)

        return hook

    def _arrive(self, one: Parameter, parameter: Tensor, contribution: Tensor) -> None:
        """Measure a contribution. Whether it will be added is not known yet: autograd.grad calls this hook too."""
        index = one.index
        if index not in self._carried:
            self._carried[index] = _ZERO if parameter.grad is None else _is_not_zero(parameter.grad)
        if parameter.grad is None:  # the first contribution, or the first since the gradient was set to None
            self._counts.pop(index, None)
            self._each.pop(index, None)
        if self._ranks.count > 1:
            self._arriving[index] = _square(contribution.detach())
        elif self._counts.get(index) and parameter.grad is not None:
            if index not in self._each:
                self._each[index] = now = _square(parameter.grad.detach())
                if not now.is_cuda and not now and self._whole.get(index):  # set to zero: as if None
                    self._counts[index] = 0
            self._arriving[index] = _square(contribution.detach())

    def _add(self, one: Parameter, parameter: Tensor, _: Tensor) -> None:
        index = one.index
        self._counts[index] = self._counts.get(index, 0) + 1
        arrived = self._arriving.pop(index, None)
        if arrived is not None:
            self._each[index] = self._each[index] + arrived if index in self._each else arrived
            if self._counts[index] == 1 and self._ranks.count == 1:
                del self._each[index]  # this contribution is the only one so far
        if parameter.grad is not None:
            self._grown[one] = parameter
            if self._measured_after is None or self._measured_after != running_backward():
                self._measured_after = running_backward()
                if not at_end_of_backward(self._measure_sums) and self._ranks.count == 1:
                    self._measure_sums()

    def _measure_sums(self) -> None:
        """Measure the gradients that have new contributions, in one call.

        If the call raises, measure them one by one.
        """
        grown, self._grown, self._measured_after = self._grown, {}, None
        gradients = {one: parameter.grad.detach() for one, parameter in grown.items() if parameter.grad is not None}
        with torch.no_grad():
            for together in _by_device(gradients):
                try:
                    self._whole |= _squares(together)
                except Exception:
                    self._measure_alone(together)

    def _measure_alone(self, gradients: Mapping[Parameter, Tensor]) -> None:
        for one, gradient in gradients.items():
            try:
                self._whole |= _squares({one: gradient})
            except Exception as failure:
                self._report(f"micro-batch gradient of {one.name!r}", failure)

    def _summed_over_ranks(self) -> tuple[dict[int, Tensor], dict[int, Tensor]]:
        """Return the sum of ``|d_i|^2`` over all ranks, and ``K``, which is NaN where the ranks do not agree."""
        device, ranks = self._ranks.device, self._ranks.count
        mine = torch.zeros(3, len(self._parameters), dtype=torch.float64, device=device)
        measured: tuple[Mapping[int, int | Tensor], ...] = self._counts, self._each, self._whole
        for row, values in enumerate(measured):
            for index, value in values.items():
                mine[row, index] = value
        total = self._ranks.add([mine])[0]
        alike = (total[0] == ranks * mine[0]) & ((total[2] - ranks * mine[2]).abs() <= _SAME * total[2])
        count = torch.where(alike, total[0], torch.nan)
        return {index: total[1, index] for index in self._each}, {index: count[index] for index in self._counts}


_ZERO = torch.zeros((), dtype=torch.float64, device="cpu")


def _is_not_zero(gradient: Tensor) -> Tensor:
    """Return 1 if one of the first entries of a gradient is not 0, else 0."""
    if gradient.layout != torch.strided:
        return _ZERO
    return first_entries(gradient.detach(), most=_LOOKED_AT).any().double()


def _square(tensor: Tensor) -> Tensor:
    return l2_norms([_at_least_single(tensor)])[0].square()


def _squares(gradients: Mapping[Parameter, Tensor]) -> dict[int, Tensor]:
    squares = l2_norms([_at_least_single(gradient) for gradient in gradients.values()]).square()
    return dict(zip((one.index for one in gradients), squares.unbind(), strict=True))


def _at_least_single(tensor: Tensor) -> Tensor:
    if tensor.layout == torch.sparse_coo:
        tensor = tensor.coalesce().values()  # of the same norm; not every norm function of torch takes a sparse tensor
    return tensor if tensor.dtype in (torch.float32, torch.float64) else tensor.float()


def _by_device(gradients: Mapping[Parameter, Tensor]) -> list[dict[Parameter, Tensor]]:
    parts: dict[torch.device, dict[Parameter, Tensor]] = {}
    for one, gradient in gradients.items():
        parts.setdefault(gradient.device, {})[one] = gradient
    return list(parts.values())


def _on_device(number: Tensor, device: torch.device) -> Tensor:
    return number.to(device, non_blocking=True) if number.device != device else number


def tell_missing_gradients(trained: Sequence[Tensor], gaps: Gaps) -> None:
    """Report a step at which gradients are due and no trained parameter has one."""
    if trained and all(parameter.grad is None for parameter in trained):
        gaps.warn(
            what="gradients",
            why="no parameter had a gradient when the optimizer stepped, so its columns are null. Call zero_grad()"
            " before backward(), not after it, and check that the loss depends on the parameters",
        )
