"""The pass of the probe batch through the model, offered as the source ``channels``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from probes.hooks.torch_internals import watched_operators
from probes.measuring.observation import Observation, Reading, Source
from probes.measuring.pricing import PassSchedule, Shapes
from probes.metrics.channels import PROBE_BATCH, channel_vector
from probes.model.layer import Layer, bias_parameter
from probes.model.selection import Selection
from probes.probe_pass.batch import ProbeBatch
from probes.probe_pass.nonlinearity_inputs import NonlinearityInputs, running_mean_of, running_variance_of
from probes.probe_pass.quiet import WrittenTensors, quietly
from probes.ranks import Ranks


class ProbePass:
    """Passes a fixed batch through a model, before the update of a step at which it is due.

    The pass runs when weights and gradients of the step are read, after the training's forward and backward pass. With
    several ranks, only the first makes the pass, without a collective. A sharded model (FSDP) is refused.

    Args:
        selection: The model and its observed layers.
        batch: The probe batch. Without a batch no pass is offered.
        ranks: The ranks that record together.
        interval: Steps between two records, if passes may cost only a share of training; None makes all passes.
        note: Called with keywords that say how often a pass is made: see :meth:`probes.gaps.Gaps.note`.
    """

    def __init__(
        self,
        selection: Selection,
        batch: ProbeBatch | None,
        *,
        ranks: Ranks,
        interval: int | None,
        note: Callable[..., None],
    ) -> None:
        self._root, self._batch, self._ranks = selection.root, batch, ranks
        self._layers = [layer for layer in selection.layers if layer.observes_output]
        self._schedule = PassSchedule(0 if batch is None else batch.samples, interval, note)
        self._passed_at = -1

    def sources(self, shapes: Shapes) -> dict[str, Source]:
        """Return the source that this pass offers, if there is a batch; ``shapes`` are those of :meth:`read`."""
        return {} if self._batch is None else {PROBE_BATCH.reads: partial(self.read, self._batch, shapes)}

    def read(self, batch: ProbeBatch, shapes: Shapes, observation: Observation) -> Reading:
        """Return a vector for each layer before a nonlinearity (:func:`probes.metrics.channels.channel_vector`).

        The reading is empty if no pass is due, or if an earlier optimizer of the step has had it.

        Args:
            batch: What is passed.
            shapes: The shapes of the last training pass, from which the cost follows.
            observation: The step.

        Raises:
            ValueError: The model is sharded, or on device meta.
            Exception: The model fails on the batch.
        """
        step = observation.step
        if self._ranks.rank != 0 or self._passed_at == step or not self._schedule.due(step, shapes):
            return Reading([], [])
        self._passed_at = step
        _check(self._root)
        found = self._seen(batch)
        vectors = {layer.index: vector for layer in self._layers if (vector := _vector(layer, found)) is not None}
        return Reading(list(vectors), list(vectors.values()))

    def _seen(self, batch: ProbeBatch) -> NonlinearityInputs:
        device = next((each.device for each in self._root.parameters()), None)
        if device is not None:
            batch.move(device)
        seeing = NonlinearityInputs(self._layers)
        written = WrittenTensors([*_tensors_of(self._root), *batch.tensors()])

        def see(operator: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            written.keep(operator, args, kwargs)
            seeing.look(operator, args)
            outputs = operator(*args, **kwargs)
            seeing.see(operator, args, outputs)
            return outputs

        parts = {id(module) for module in self._root.modules()}
        try:
            with quietly(self._root), _ModuleCalls(parts, seeing), watched_operators(see):
                batch.pass_through(self._root)
        finally:
            written.put_back()
        return seeing


class _ModuleCalls:
    """See each module of the model that runs, by two hooks for all modules."""

    def __init__(self, parts: set[int], seeing: NonlinearityInputs) -> None:
        self._parts, self._seeing = parts, seeing
        self._handles: list[Any] = []

    def __enter__(self) -> None:
        register = torch.nn.modules.module
        self._handles = [
            register.register_module_forward_pre_hook(self._before),
            register.register_module_forward_hook(self._after, always_call=True),
        ]

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()

    def _before(self, module: nn.Module, args: Any) -> None:
        if id(module) in self._parts:
            self._seeing.enter(module, args)

    def _after(self, module: nn.Module, _args: Any, output: Any) -> None:
        if id(module) in self._parts:
            self._seeing.leave(output)


def _vector(layer: Layer, found: NonlinearityInputs) -> Tensor | None:
    """Return a layer's vector for table ``channels``; None if its output is not the input of a nonlinearity."""
    seen = found.seen.get(layer.index)
    if seen is None:
        return None
    channels = len(seen.moments.mean)
    given, variance = found.inputs.get(layer.index), running_variance_of(layer.module)
    further = (
        bias_parameter(layer),
        None if given is None else given.mean,
        None if given is None else given.deviation,
        None if given is None else running_mean_of(layer.module),
        None if given is None or variance is None else variance.clamp_min(0).sqrt(),
    )
    fitting = [None if column is None or column.shape != (channels,) else column for column in further]
    return channel_vector(seen.nonlinearity, seen.moments, *fitting)


def _tensors_of(root: nn.Module) -> Iterator[Tensor]:
    """Yield parameters, buffers and the tensors that modules keep as plain attributes."""
    yield from root.parameters()
    yield from root.buffers()
    yield from (value for module in root.modules() for value in vars(module).values() if isinstance(value, Tensor))


def _check(root: nn.Module) -> None:
    for name, parameter in root.named_parameters():
        if hasattr(parameter, "to_local") or type(parameter).__name__ == "FlatParameter":
            raise ValueError(
                f"the probe batch is not passed through a model in shards: {name} is a {type(parameter).__name__}, and"
                " a pass of one rank alone would wait for the others"
            )
        if parameter.is_meta:
            raise ValueError(f"the probe batch is not passed through a model on device meta, such as {name}")
