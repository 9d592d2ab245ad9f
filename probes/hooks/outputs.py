"""Forward hooks that reduce the output of each layer to a small vector while the output exists."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from probes.gaps import Gaps
from probes.hooks.compiled import CompiledPasses, GraphTap
from probes.hooks.convolutions import CONVOLUTION, Shapes, called_convolutions
from probes.hooks.graph.layers_before import LayersBefore
from probes.hooks.module_hooks import ModuleHook
from probes.hooks.seen_tensor import first_tensor, why_not_seen, with_channels
from probes.hooks.torch_internals import HookGuards, in_backward, is_exporting, is_rewriting
from probes.hooks.training_passes import TrainingPasses
from probes.measuring.observation import Observation, Reading, Source, read_each, without_frames
from probes.metrics.feeds_nonlinearity import FEEDS_NONLINEARITY
from probes.metrics.reducer import Reducer
from probes.model.layer import Layer
from probes.ranks import Ranks


class OutputHooks:
    """Hooks on the layers, which see the outputs of training passes.

    Between two optimizer steps they collect one vector for each wanted reducer, layer and forward pass: several vectors
    under gradient accumulation. Passes in eval mode or without gradients do not count, nor does the second forward of
    activation checkpointing.

    Attributes:
        fired: Whether the hook of some layer has run since the last step.
        compiled: The outputs that were seen from inside a compiled graph.
        shapes: The shapes of input and output of each layer that was seen, by index, in the last pass of the last
            measured step.
    """

    def __init__(
        self,
        root: nn.Module,
        layers: Sequence[Layer],
        reducers: Mapping[str, Reducer],
        *,
        ranks: Ranks,
        shapes: bool = False,
        report: Callable[[str, Exception], None],
        passes: TrainingPasses,
        evaluation: bool = False,
    ) -> None:
        """Attach the hooks.

        Args:
            root: The model whose mode says whether a pass is a training pass.
            layers: All observed layers. Layers that stand for a module's output get a hook.
            reducers: The reducers of all metrics, by source.
            ranks: The ranks whose vectors are merged.
            shapes: Note the shapes of inputs and outputs even without a reducer.
            report: Called with a description and the exception when something fails; training goes on.
            passes: Is notified of calls that only the hook of a layer sees.
            evaluation: Count passes in eval mode or under no_grad as well.
        """
        self._root = root
        self._reducers = reducers
        self._ranks = ranks
        self._report = report
        self._passes = passes
        self._evaluation = evaluation
        self._paused = self._looks = False
        self._notes_shapes = shapes
        self._count = len(layers)
        self._wanted: list[tuple[str, Reducer]] = []
        self._of: dict[str, list[tuple[str, Reducer]]] = {"output": [], "input": [], "output_gradient": []}
        self._unfinished: dict[str, list[tuple[int, Any]]] = {}  # by source: layer and first part of a reduction
        self._vectors: dict[str, dict[int, list[Tensor | Exception]]] = {}  # an exception where a pass failed
        self._unseen: dict[str, str] = {}  # by layer: why its output has no statistics
        self._at_optimizer: dict[str, dict[int, int]] = {}  # number of vectors when an optimizer last stepped
        self._outside: set[int] = set()  # layers seen outside a backward pass since the last step
        self.shapes: Shapes = {}
        self.fired = False
        self.compiled = CompiledPasses()
        self._before = LayersBefore(ranks)
        self._taps: list[GraphTap] = []
        self._guards = HookGuards()
        self._handles: list[RemovableHandle] = []
        for layer in [layer for layer in layers if layer.observes_output] if reducers or shapes else []:
            self._attach(layer)

    def sources(self) -> dict[str, Source]:
        """Return the sources that these hooks offer: one for each reducer, and the sources computed from the calls."""
        of_calls: dict[str, Source] = {
            CONVOLUTION: partial(called_convolutions, self.shapes),
            FEEDS_NONLINEARITY.reads: self._before.read,
        }
        return {name: partial(self._read, name) for name in self._reducers} | of_calls

    def start_step(self, sources: Collection[str], *, keep_passes_since_optimizer: bool = False) -> None:
        """Forget the vectors of the last step and collect those of these sources.

        Args:
            sources: The sources that are due.
            keep_passes_since_optimizer: Keep the vectors collected since the last call of
                :meth:`end_of_optimizer_step`, because they belong to the step that starts.
        """
        self._paused = False
        if not sources and not self._looks:  # most steps of most runs: nothing was collected, and nothing will be
            self._passes.passed = self.fired = keep_passes_since_optimizer
            return
        if keep_passes_since_optimizer:
            self._finish_pending()
        self._unfinished.clear()
        self._before.start_step(wanted=FEEDS_NONLINEARITY.reads in sources)
        kept = self._since_optimizer() if keep_passes_since_optimizer else {}
        self._wanted = [(name, reducer) for name, reducer in self._reducers.items() if name in sources]
        self._looks = bool(self._wanted) or (self._notes_shapes and bool(sources))
        self._of = {kind: [each for each in self._wanted if each[1].of == kind] for kind in self._of}
        self._vectors = {name: kept.get(name, {}) for name, _ in self._wanted}
        self._at_optimizer.clear()
        self._outside.clear()
        self._passes.passed = self.fired = keep_passes_since_optimizer

    def pause(self, *, paused: bool) -> None:
        """Ignore passes until the next step: later evaluations of a closure are not recorded."""
        self._paused = paused

    def end_of_optimizer_step(self) -> None:
        """Note that an optimizer has stepped: later passes may belong to the next step."""
        self._finish_pending()
        self._at_optimizer = {
            name: {index: len(vectors) for index, vectors in collected.items()}
            for name, collected in self._vectors.items()
        }

    def _since_optimizer(self) -> dict[str, dict[int, list[Tensor | Exception]]]:
        """Return the vectors collected since an optimizer last stepped."""
        newer: dict[str, dict[int, list[Tensor | Exception]]] = {}
        for name, collected in self._vectors.items():
            older = self._at_optimizer.get(name, {})
            parts = {index: vectors[older.get(index, 0) :] for index, vectors in collected.items()}
            newer[name] = {index: vectors for index, vectors in parts.items() if vectors}
        return newer

    def _read(self, source: str, observation: Observation) -> Reading:
        """Merge the vectors of all passes and ranks. Every rank gets the vectors of all layers."""
        merged = self._merged(source)
        kept = {index: vector for index, vector in merged.by_layer().items() if index in observation.layers}
        failures = {index: why for index, why in merged.failures.items() if index in observation.layers}
        return Reading(list(kept), list(kept.values()), failures)

    def _merged(self, source: str) -> Reading:
        self._finish_pending()
        reducer = self._reducers[source]
        passes = read_each(dict(sorted(self._vectors.get(source, {}).items())), lambda _, parts: reducer.whole(parts))
        if self._ranks.count == 1:
            return passes
        gathered = self._ranks.gather(source, passes.by_layer(), self._count)
        return read_each(gathered, lambda _, vectors: reducer.merge(vectors), failures=passes.failures)

    def check_fired(self, gaps: Gaps) -> None:
        """Warn if no hook ran in a step that was due: hooks that are added after the first compiled call never run.

        A model that is measured without training gives no warning: it has no training pass and no gradient.
        """
        if self._wanted and not self.fired and not self.compiled.replayed and self._trained():
            gaps.warn(
                what="activations",
                why="no forward hook ran. The model, or one of its class, was probably compiled and called before the"
                " probe was attached: attach first, or call torch.compiler.reset() after attaching",
            )
        for layer, why in self._unseen.items():
            gaps.note(what="activations", why=why, layer=layer)
        self._unseen.clear()

    def _trained(self) -> bool:
        return self._passes.passed or any(parameter.grad is not None for parameter in self._root.parameters())

    def remove(self) -> None:
        """Remove the hooks, and leave torch's settings as they were."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._guards.release()

    def _attach(self, layer: Layer) -> None:
        try:
            self._handles.append(
                ModuleHook(self._hook(layer)).attach(layer.module.register_forward_hook, with_kwargs=True)
            )
        except Exception as failure:  # a part on which torch allows no hook, for example of TorchScript
            self._report(f"output of layer {layer.name!r}", failure)

    def _tap(self, see: Callable[[Tensor, Tensor], None], module: nn.Module) -> GraphTap:
        device = next((parameter.device for parameter in module.parameters()), torch.device("cpu"))
        self._taps.append(GraphTap(see, device))
        return self._taps[-1]

    def _hook(self, layer: Layer) -> Callable[..., None]:
        tap = self._tap(partial(self._see_compiled, layer), layer.module)
        evaluation = self._evaluation

        def hook(_module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            # is_compiling, which also excludes torch.export, costs 10 us, is_dynamo_compiling 2.
            if not torch.compiler.is_dynamo_compiling():
                if self._looks and not self._paused and not is_rewriting():
                    self._see(layer, (args, kwargs), output)
            elif is_exporting():
                return
            elif (evaluation or torch.is_grad_enabled()) and (tensor := first_tensor(output)) is not None:
                given = first_tensor((args, kwargs))
                tap(tensor, tensor if given is None else given)

        return hook

    def _see_compiled(self, layer: Layer, output: Tensor, given: Tensor) -> None:
        """Take an output from inside a compiled graph, where no hook can be put on its gradient."""
        self.fired = True
        self._passes.passed |= self._root.training
        wanted = self._looks and not self._paused and (self._evaluation or self._root.training)
        if wanted and not self.compiled.in_cuda_graph(output):
            self.shapes[layer.index] = tuple(given.shape), tuple(output.shape)
            self.compiled.note(output, gradient_wanted=bool(self._of["output_gradient"]))
            self._collect(layer, output, self._of["output"])
            self._collect_input(layer, given)

    def _see(self, layer: Layer, given: Any, output: Any) -> None:
        self.fired = True
        if not self._counts(layer):
            return
        try:
            self._look_at(layer, first_tensor(given), first_tensor(output), output)
        except Exception as failure:
            self._keep(layer, self._wanted, failure)

    def _look_at(self, layer: Layer, given: Tensor | None, tensor: Tensor | None, output: Any) -> None:
        if (why := why_not_seen(tensor, output)) is not None:
            self._unseen[layer.name] = why
            return
        assert tensor is not None
        if self.compiled.in_cuda_graph(tensor):
            return
        self.shapes[layer.index] = None if given is None else given.shape, tensor.shape
        self._before.note(layer.index, tensor)
        self._collect(layer, tensor, self._of["output"])
        self._collect_input(layer, given)
        if self._of["output_gradient"] and tensor.requires_grad:
            # A hook on the tensor, not a backward hook of the module: those forbid in-place operations on the output.
            tensor.register_hook(lambda gradient: self._collect(layer, gradient, self._of["output_gradient"]))

    def _finish_pending(self) -> None:
        """Finish the reductions that have a second part, for all layers together."""
        unfinished, self._unfinished = self._unfinished, {}
        for source, reducer in self._wanted:
            if left := unfinished.get(source):
                for (index, _), vector in zip(left, reducer.finished([found for _, found in left]), strict=True):
                    self._vectors[source].setdefault(index, []).append(vector)

    def _collect(self, layer: Layer, tensor: Tensor, reducers: Sequence[tuple[str, Reducer]]) -> None:
        """Reduce a tensor. If a reducer raises, only its source is missing, and only for this layer."""
        try:
            with torch.no_grad():
                seen, channels = with_channels(layer.module, tensor)
                for source, reducer in reducers:
                    self._reduce(layer, source, reducer, seen, channels)
        except Exception as failure:
            self._keep(layer, reducers, failure)

    def _collect_input(self, layer: Layer, given: Tensor | None) -> None:
        if self._of["input"] and why_not_seen(given, given) is None:
            self._collect(layer, given, self._of["input"])  # type: ignore[arg-type]

    def _reduce(self, layer: Layer, source: str, reducer: Reducer, seen: Tensor, channels: int) -> None:
        try:
            found = reducer.reduce(seen, channels)
        except Exception as failure:
            self._keep(layer, [(source, reducer)], failure)
            return
        if reducer.finish is None or isinstance(found, Tensor):
            self._vectors[source].setdefault(layer.index, []).append(found)
        else:
            self._unfinished.setdefault(source, []).append((layer.index, found))

    def _keep(self, layer: Layer, reducers: Sequence[tuple[str, Reducer]], failure: Exception) -> None:
        for source, _ in reducers:
            self._vectors[source].setdefault(layer.index, []).append(without_frames(failure))

    def _counts(self, layer: Layer) -> bool:
        """Return whether this is a forward pass of training, and not the second one of activation checkpointing."""
        if self._evaluation:
            return True
        if not self._root.training or not torch.is_grad_enabled():
            return False
        if not in_backward():
            self._outside.add(layer.index)
            return True
        # The pass recomputes for a checkpoint. The first forward has counted, unless it ran under no_grad (reentrant
        # checkpoints).
        return layer.index not in self._outside
